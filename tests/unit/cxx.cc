// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) the kvshm authors
//
// cxx: the public header compiles as C++, and a C++ program links the library.

#include "kvshm.h"

#include <cstdio>
#include <cstring>

int main()
{
	kvshm_create_options options;
	kvshm *store = nullptr;

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
