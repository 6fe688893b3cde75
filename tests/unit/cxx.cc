// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) the kvshm authors
//
// cxx: the public header compiles as C++, with the warnings that C++ projects make errors of, beside a namespace of the
// library's name, and no type of it needs the word struct; and a C++ program links the library.

#pragma GCC diagnostic error "-Wshadow"
#pragma GCC diagnostic error "-Wconversion"
#pragma GCC diagnostic error "-Wpedantic"
#include "kvshm.h"

#include <cstdio>
#include <cstring>
#include <tuple>
#include <vector>

namespace kvshm {
struct hold {
	kvshm_store *store;
	kvshm_handle handle;
};
using everything = std::vector<std::tuple<hold, kvshm_geometry, kvshm_ticket, kvshm_request, kvshm_request_info>>;
} // namespace kvshm

int main()
{
	kvshm_create_options options;
	kvshm_store *store = nullptr;

	kvshm_create_defaults(&options);
	if (options.planes != 1) {
		std::printf("kvshm_create_defaults() set planes to %u\n", options.planes);
		return 1;
	}
	// A name that can't be: no store is needed to see that the call gets there and back.
	int rc = kvshm_attach(".bad", nullptr, &store);
	if (rc != -22 || std::strlen(kvshm_error()) == 0) {
		std::printf("kvshm_attach() of a bad name: %d, \"%s\"\n", rc, kvshm_error());
		return 1;
	}
	std::printf("kvshm %s: %s\n", kvshm_version(), kvshm_error());
	return 0;
}
