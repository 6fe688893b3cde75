/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * hugetlb.h: file systems of huge pages (hugetlbfs): where they are mounted, and how many pages they have. A plane
 * there is found by its device number, since containers may have the file system at another place.
 */
#ifndef KVS_HUGETLB_H
#define KVS_HUGETLB_H

#include <stdint.h>

#include "files.h"

/* Calls fn with the directory of each hugetlbfs and its page size, until it returns other than 0: the result. */
int kvs_huge_each(int (*fn)(const char *dir, uint64_t page, void *arg), void *arg);

/* One whose pages have the machine's default size, and where this process may make files. -ENOENT if there is none,
 * -EACCES if it may not. */
int kvs_huge_choose(char dir[KVS_PATH_SIZE], uint64_t *page);

/* Where the one with that device number is mounted. -ENODEV if it is not. */
int kvs_huge_find(uint64_t device, char dir[KVS_PATH_SIZE]);

/* Are there so many bytes of free huge pages for files in dir? 0, -ENOMEM, or -ENOSPC if the mount has a lower limit.
 * The text says how many are needed, how many are free, and how to get more. */
int kvs_huge_room(const char *dir, uint64_t page, uint64_t bytes);

#endif
