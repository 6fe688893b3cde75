/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * real_kernels.h: the kernels of the tests that run on a real GPU, as PTX, which the driver compiles. The stand-in
 * knows them by their names and parameters (standin/kernels.c).
 *
 *   test_fill(address, bytes, value)          words of 32 bits, each value + its number
 *   test_check(address, bytes, value, wrong)  adds to *wrong the words that are not as test_fill() writes them
 *   test_spin(address, bytes, value, ns)      writes what test_fill() does, again and again, until ns have passed
 *
 * Any grid will do: each thread goes on from its word by as many as there are threads.
 */
#ifndef REAL_KERNELS_H
#define REAL_KERNELS_H

/* In each: rd1 the address, rd2 how many words, r1 the value, rd3 the thread's first word, rd4 how many threads. */
#define REAL_PTX_BEGIN                                                                                                \
	"	.reg .pred %p<3>;\n"                                                                                  \
	"	.reg .b32 %r<8>;\n"                                                                                   \
	"	.reg .b64 %rd<12>;\n"                                                                                 \
	"	ld.param.u64 %rd1, [address];\n"                                                                      \
	"	cvta.to.global.u64 %rd1, %rd1;\n"                                                                     \
	"	ld.param.u64 %rd2, [bytes];\n"                                                                        \
	"	shr.u64 %rd2, %rd2, 2;\n"                                                                             \
	"	ld.param.u32 %r1, [value];\n"                                                                         \
	"	mov.u32 %r2, %ctaid.x;\n"                                                                             \
	"	mov.u32 %r3, %ntid.x;\n"                                                                              \
	"	mov.u32 %r4, %tid.x;\n"                                                                               \
	"	mov.u32 %r5, %nctaid.x;\n"                                                                            \
	"	mul.wide.u32 %rd3, %r2, %r3;\n"                                                                       \
	"	cvt.u64.u32 %rd5, %r4;\n"                                                                             \
	"	add.u64 %rd3, %rd3, %rd5;\n"                                                                          \
	"	mul.wide.u32 %rd4, %r5, %r3;\n"

/* r6: what the word rd5 is to be, and rd6 its address. */
#define REAL_PTX_WORD                                                                                                 \
	"	cvt.u32.u64 %r6, %rd5;\n"                                                                             \
	"	add.u32 %r6, %r6, %r1;\n"                                                                             \
	"	shl.b64 %rd6, %rd5, 2;\n"                                                                             \
	"	add.u64 %rd6, %rd6, %rd1;\n"

static const char real_ptx[] =
	".version 6.0\n"
	".target sm_50\n"
	".address_size 64\n"
	".visible .entry test_fill(.param .u64 address, .param .u64 bytes, .param .u32 value)\n"
	"{\n"
	REAL_PTX_BEGIN
	"	mov.u64 %rd5, %rd3;\n"
	"again:\n"
	"	setp.ge.u64 %p1, %rd5, %rd2;\n"
	"	@%p1 bra done;\n"
	REAL_PTX_WORD
	"	st.global.u32 [%rd6], %r6;\n"
	"	add.u64 %rd5, %rd5, %rd4;\n"
	"	bra again;\n"
	"done:\n"
	"	ret;\n"
	"}\n"
	".visible .entry test_check(.param .u64 address, .param .u64 bytes, .param .u32 value, .param .u64 wrong)\n"
	"{\n"
	REAL_PTX_BEGIN
	"	ld.param.u64 %rd7, [wrong];\n"
	"	cvta.to.global.u64 %rd7, %rd7;\n"
	"	mov.u64 %rd5, %rd3;\n"
	"again:\n"
	"	setp.ge.u64 %p1, %rd5, %rd2;\n"
	"	@%p1 bra done;\n"
	REAL_PTX_WORD
	"	ld.volatile.global.u32 %r7, [%rd6];\n"
	"	setp.ne.u32 %p2, %r7, %r6;\n"
	"	@%p2 red.global.add.u32 [%rd7], 1;\n"
	"	add.u64 %rd5, %rd5, %rd4;\n"
	"	bra again;\n"
	"done:\n"
	"	ret;\n"
	"}\n"
	".visible .entry test_spin(.param .u64 address, .param .u64 bytes, .param .u32 value, .param .u64 ns)\n"
	"{\n"
	REAL_PTX_BEGIN
	"	ld.param.u64 %rd8, [ns];\n"
	"	mov.u64 %rd9, %globaltimer;\n"
	"round:\n"
	"	mov.u64 %rd5, %rd3;\n"
	"again:\n"
	"	setp.ge.u64 %p1, %rd5, %rd2;\n"
	"	@%p1 bra look;\n"
	REAL_PTX_WORD
	"	st.volatile.global.u32 [%rd6], %r6;\n"
	"	add.u64 %rd5, %rd5, %rd4;\n"
	"	bra again;\n"
	"look:\n"
	"	mov.u64 %rd10, %globaltimer;\n"
	"	sub.u64 %rd10, %rd10, %rd9;\n"
	"	setp.lt.u64 %p2, %rd10, %rd8;\n"
	"	@%p2 bra round;\n"
	"	ret;\n"
	"}\n";

#endif
