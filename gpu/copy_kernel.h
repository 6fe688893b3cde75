/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * copy_kernel.h: the kernel that copies many small pieces, as PTX, which the driver compiles for whatever GPU there is:
 * so kvshm needs no compiler of CUDA's, and serves GPUs that came after it. 6.0 is the first version of PTX with what
 * it uses (CUDA 9); all drivers that kvshm takes know it.
 *
 *	kvshm_copy_pieces(struct kvg_piece *pieces, uint32_t count)
 *
 * A warp copies a piece; a block of four warps reads the descriptors of its four pieces at once, since they lie in host
 * memory, and each reading goes over the bus. With fewer blocks than there are fours of pieces each goes on with what
 * is as many fours further on. A warp has 4 KiB in flight (8 loads of 16 bytes for each thread): on the
 * largest GPUs there are 8,000 of them at a time. So no piece is to be longer than what copies.c cuts them into: else
 * one warp would go on where thousands have ended.
 *
 * Guarantees: each byte of a piece is written once, and nothing beside it is read or written. Where both ends lie alike
 * within 16 bytes, all but the first and last few bytes are copied in units of 16; else byte by byte.
 */
#ifndef KVG_COPY_KERNEL_H
#define KVG_COPY_KERNEL_H

#define KVG_COPY_KERNEL "kvshm_copy_pieces"
#define KVG_COPY_WARPS 4 /* of a block: a piece each */
#define KVG_COPY_THREADS (KVG_COPY_WARPS * 32)

/* The loads in flight of a warp, and their stores: each 32 times 16 bytes, or 32 bytes, further on than the last. */
#define KVG_LOAD_16(k, at) "\tld.global.v4.u32 {%a" #k ", %b" #k ", %c" #k ", %d" #k "}, [%from+" #at "];\n"
#define KVG_STORE_16(k, at) "\tst.global.v4.u32 [%to+" #at "], {%a" #k ", %b" #k ", %c" #k ", %d" #k "};\n"
#define KVG_LOAD_1(k, at) "\tld.global.u8 %a" #k ", [%from+" #at "];\n"
#define KVG_STORE_1(k, at) "\tst.global.u8 [%to+" #at "], %a" #k ";\n"
// clang-format off
#define KVG_EIGHT_16(one) one(0, 0) one(1, 512) one(2, 1024) one(3, 1536) \
	one(4, 2048) one(5, 2560) one(6, 3072) one(7, 3584)
#define KVG_EIGHT_1(one) one(0, 0) one(1, 32) one(2, 64) one(3, 96) \
	one(4, 128) one(5, 160) one(6, 192) one(7, 224)

static const char kvg_copy_ptx[] =
	".version 6.0\n"
	".target sm_50\n"
	".address_size 64\n"
	".visible .entry " KVG_COPY_KERNEL "(.param .u64 pieces, .param .u32 count)\n"
	".maxntid 128, 1, 1\n"
	"{\n"
	"	.reg .pred %p;\n"
	"	.reg .u32 %thread, %lane, %warp, %group, %groups, %next, %count, %left, %n;\n"
	"	.reg .u32 %a<8>, %b<8>, %c<8>, %d<8>;\n"
	"	.reg .u64 %to, %from, %bytes, %step, %at, %many, %rest, %end;\n"
	"	.shared .align 8 .b8 mine[96];\n" /* four descriptors of 24 bytes */

	/* Words of 8 bytes that this block has: 3 of each of its pieces. */
	"	mov.u32 %thread, %tid.x;\n"
	"	mov.u32 %group, %ctaid.x;\n"
	"	mov.u32 %groups, %nctaid.x;\n"
	"	ld.param.u32 %count, [count];\n"
	"ROUND:\n"
	"	shl.b32 %n, %group, 2;\n"
	"	sub.u32 %left, %count, %n;\n"
	"	min.u32 %left, %left, 4;\n"
	"	mul.lo.u32 %n, %left, 3;\n"
	"	setp.ge.u32 %p, %thread, %n;\n"
	"	@%p bra READ;\n"
	"	ld.param.u64 %at, [pieces];\n"
	"	cvta.to.global.u64 %at, %at;\n"
	"	mul.wide.u32 %step, %group, 96;\n"
	"	add.u64 %at, %at, %step;\n"
	"	mul.wide.u32 %step, %thread, 8;\n"
	"	add.u64 %at, %at, %step;\n"
	"	ld.global.u64 %many, [%at];\n"
	"	mov.u64 %at, mine;\n"
	"	add.u64 %at, %at, %step;\n"
	"	st.shared.u64 [%at], %many;\n"
	"READ:\n"
	"	bar.sync 0;\n"
	"	shr.u32 %warp, %thread, 5;\n"
	"	setp.ge.u32 %p, %warp, %left;\n"
	"	@%p bra DONE;\n"
	"	mul.wide.u32 %step, %warp, 24;\n"
	"	mov.u64 %at, mine;\n"
	"	add.u64 %at, %at, %step;\n"
	"	ld.shared.u64 %to, [%at];\n"
	"	ld.shared.u64 %from, [%at+8];\n"
	"	ld.shared.u64 %bytes, [%at+16];\n"
	"	cvta.to.global.u64 %to, %to;\n"
	"	cvta.to.global.u64 %from, %from;\n"
	"	and.b32 %lane, %thread, 31;\n"
	"	cvt.u64.u32 %step, %lane;\n"
	"	xor.b64 %at, %to, %from;\n"
	"	and.b64 %at, %at, 15;\n"
	"	setp.ne.u64 %p, %at, 0;\n"
	"	@%p bra BYTES;\n"

	/* The first bytes, up to a place that 16 divides. */
	"	neg.s64 %many, %to;\n"
	"	and.b64 %many, %many, 15;\n"
	"	min.u64 %many, %many, %bytes;\n"
	"	setp.ge.u64 %p, %step, %many;\n"
	"	@%p bra FIRST;\n"
	"	add.u64 %at, %from, %step;\n"
	"	ld.global.u8 %n, [%at];\n"
	"	add.u64 %at, %to, %step;\n"
	"	st.global.u8 [%at], %n;\n"
	"FIRST:\n"
	"	add.u64 %to, %to, %many;\n"
	"	add.u64 %from, %from, %many;\n"
	"	sub.u64 %bytes, %bytes, %many;\n"

	/* The last ones. */
	"	and.b64 %rest, %bytes, 15;\n"
	"	sub.u64 %bytes, %bytes, %rest;\n"
	"	setp.ge.u64 %p, %step, %rest;\n"
	"	@%p bra LAST;\n"
	"	add.u64 %end, %bytes, %step;\n"
	"	add.u64 %at, %from, %end;\n"
	"	ld.global.u8 %n, [%at];\n"
	"	add.u64 %at, %to, %end;\n"
	"	st.global.u8 [%at], %n;\n"
	"LAST:\n"

	/* What is between: %end is where each thread's own part of it ends. */
	"	add.u64 %end, %from, %bytes;\n"
	"	shl.b64 %step, %step, 4;\n"
	"	add.u64 %from, %from, %step;\n"
	"	add.u64 %to, %to, %step;\n"
	"EIGHT:\n"
	"	add.u64 %at, %from, 3584;\n" /* of the eighth */
	"	setp.ge.u64 %p, %at, %end;\n"
	"	@%p bra ONE;\n"
	KVG_EIGHT_16(KVG_LOAD_16)
	KVG_EIGHT_16(KVG_STORE_16)
	"	add.u64 %from, %from, 4096;\n"
	"	add.u64 %to, %to, 4096;\n"
	"	bra EIGHT;\n"
	"ONE:\n"
	"	setp.ge.u64 %p, %from, %end;\n"
	"	@%p bra DONE;\n"
	KVG_LOAD_16(0, 0)
	KVG_STORE_16(0, 0)
	"	add.u64 %from, %from, 512;\n"
	"	add.u64 %to, %to, 512;\n"
	"	bra ONE;\n"

	"BYTES:\n"
	"	add.u64 %end, %from, %bytes;\n"
	"	add.u64 %from, %from, %step;\n"
	"	add.u64 %to, %to, %step;\n"
	"BYTES_EIGHT:\n"
	"	add.u64 %at, %from, 224;\n"
	"	setp.ge.u64 %p, %at, %end;\n"
	"	@%p bra BYTES_ONE;\n"
	KVG_EIGHT_1(KVG_LOAD_1)
	KVG_EIGHT_1(KVG_STORE_1)
	"	add.u64 %from, %from, 256;\n"
	"	add.u64 %to, %to, 256;\n"
	"	bra BYTES_EIGHT;\n"
	"BYTES_ONE:\n"
	"	setp.ge.u64 %p, %from, %end;\n"
	"	@%p bra DONE;\n"
	KVG_LOAD_1(0, 0)
	KVG_STORE_1(0, 0)
	"	add.u64 %from, %from, 32;\n"
	"	add.u64 %to, %to, 32;\n"
	"	bra BYTES_ONE;\n"
	/* The next four, when no warp needs the descriptors of these any more. */
	"DONE:\n"
	"	bar.sync 0;\n"
	"	add.u32 %group, %group, %groups;\n"
	"	shl.b32 %next, %group, 2;\n"
	"	setp.lt.u32 %p, %next, %count;\n"
	"	@%p bra ROUND;\n"
	"	ret;\n"
	"}\n";
// clang-format on

#endif
