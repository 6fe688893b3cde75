/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * driver.h: the CUDA driver's library, loaded at run time by its versioned names, so that one binary serves nodes with
 * and without a GPU, and needs nothing of CUDA to be built. What is declared here of the driver's interface is what
 * kvshm uses of it, by facts of the CUDA Driver API's reference manual (12.x, 13.0); tests/gpu/abi.cc compares every
 * value, size and type with cuda.h, where that is there.
 *
 * Guarantees: without a driver nothing of the library's fails but what needs one, each with a text of its own that says
 * what is wrong and what to do. Nothing about the caller's context is changed.
 */
#ifndef KVG_DRIVER_H
#define KVG_DRIVER_H

#include <stddef.h>
#include <stdint.h>

/* ---- The driver's interface -------------------------------------------------------------------------------- */

typedef int kvg_result; /* CUresult */
typedef int kvg_device; /* CUdevice */
typedef unsigned long long kvg_pointer; /* CUdeviceptr */
typedef unsigned long long kvg_handle;	/* CUmemGenericAllocationHandle */
typedef struct CUctx_st *kvg_context;
typedef struct CUstream_st *kvg_stream;
typedef struct CUevent_st *kvg_event;
typedef struct CUmod_st *kvg_module;
typedef struct CUfunc_st *kvg_function;
typedef void kvg_host_fn(void *arg); /* CUhostFn */

struct kvg_uuid { /* CUuuid */
	uint8_t bytes[16];
};

struct kvg_ipc_handle { /* CUipcMemHandle */
	uint8_t bytes[64];
};

struct kvg_location { /* CUmemLocation */
	int type, id;
};

struct kvg_prop { /* CUmemAllocationProp */
	int type, handle_types;
	struct kvg_location location;
	void *windows;
	uint8_t compression, rdma_capable;
	uint16_t usage;
	uint8_t reserved[4];
};

struct kvg_access { /* CUmemAccessDesc */
	struct kvg_location location;
	int flags;
};

enum {
	KVG_SUCCESS = 0,
	KVG_INVALID_VALUE = 1,
	KVG_OUT_OF_MEMORY = 2,
	KVG_NOT_INITIALIZED = 3,
	KVG_DEINITIALIZED = 4,
	KVG_STUB_LIBRARY = 34,
	KVG_INSUFFICIENT_DRIVER = 35, /* of the runtime API only, but some libraries of containers return it */
	KVG_NEWER_DRIVER_NEEDED = 36,
	KVG_DEVICE_UNAVAILABLE = 46,
	KVG_NO_DEVICE = 100,
	KVG_INVALID_DEVICE = 101,
	KVG_NOT_LICENSED = 102,
	KVG_INVALID_CONTEXT = 201,
	KVG_MAP_FAILED = 205,
	KVG_ALREADY_MAPPED = 208,
	KVG_NO_BINARY_FOR_GPU = 209,
	KVG_ECC_UNCORRECTABLE = 214,
	KVG_INVALID_PTX = 218,
	KVG_NVLINK_UNCORRECTABLE = 220,
	KVG_JIT_COMPILER_NOT_FOUND = 221,
	KVG_UNSUPPORTED_PTX = 222,
	KVG_JIT_COMPILATION_DISABLED = 223,
	KVG_OPERATING_SYSTEM = 304,
	KVG_INVALID_HANDLE = 400,
	KVG_NOT_FOUND = 500,
	KVG_NOT_READY = 600,
	KVG_ILLEGAL_ADDRESS = 700,
	KVG_LAUNCH_TIMEOUT = 702,
	KVG_CONTEXT_IS_DESTROYED = 709,
	KVG_ASSERT = 710,
	KVG_TOO_MANY_PEERS = 711,
	KVG_HOST_MEMORY_ALREADY_REGISTERED = 712,
	KVG_HOST_MEMORY_NOT_REGISTERED = 713,
	KVG_HARDWARE_STACK_ERROR = 714,
	KVG_ILLEGAL_INSTRUCTION = 715,
	KVG_MISALIGNED_ADDRESS = 716,
	KVG_INVALID_ADDRESS_SPACE = 717,
	KVG_INVALID_PC = 718,
	KVG_LAUNCH_FAILED = 719,
	KVG_NOT_PERMITTED = 800,
	KVG_NOT_SUPPORTED = 801,
	KVG_SYSTEM_NOT_READY = 802,
	KVG_SYSTEM_DRIVER_MISMATCH = 803,
	KVG_COMPAT_NOT_SUPPORTED = 804,
	KVG_MPS_CONNECTION_FAILED = 805,
	KVG_MPS_RPC_FAILURE = 806,
	KVG_MPS_SERVER_NOT_READY = 807,
	KVG_MPS_MAX_CLIENTS = 808,
	KVG_MPS_MAX_CONNECTIONS = 809,
	KVG_MPS_CLIENT_TERMINATED = 810,
	KVG_CAPTURE_UNSUPPORTED = 900,
	KVG_CAPTURE_IMPLICIT = 906,
	KVG_CAPTURE_WRONG_THREAD = 908,
	KVG_UNKNOWN = 999,
};

enum { /* CUdevice_attribute */
	KVG_ATTRIBUTE_MULTIPROCESSORS = 16,
	KVG_ATTRIBUTE_UNIFIED_ADDRESSING = 41,
	KVG_ATTRIBUTE_PAGEABLE_ACCESS = 88, /* it reaches all that the processor does */
	KVG_ATTRIBUTE_VMM = 102,	    /* cuMemCreate() and what belongs to it */
	KVG_ATTRIBUTE_FD_EXPORT = 103,	    /* of its memory, as file descriptors */
	KVG_ATTRIBUTE_RDMA_WITH_VMM = 110,  /* network cards reach its memory */
	KVG_ATTRIBUTE_FLUSH_OPTIONS = 117,
	KVG_ATTRIBUTE_WRITES_ORDERING = 118,
	KVG_ATTRIBUTE_DMA_BUF = 124,
	KVG_ATTRIBUTE_IPC = 125,
	KVG_ATTRIBUTE_MPS = 133,
};

enum {
	KVG_ALLOCATION_PINNED = 1,
	KVG_LOCATION_DEVICE = 1,
	KVG_HANDLE_FD = 1,
	KVG_ACCESS_READ_WRITE = 3,
	KVG_GRANULARITY_RECOMMENDED = 1,
	KVG_RANGE_DMA_BUF = 1,
	KVG_IPC_LAZY_PEER_ACCESS = 1,
	KVG_HOST_PORTABLE = 1,	/* of cuMemHostAlloc() and cuMemHostRegister() */
	KVG_HOST_DEVICE_MAP = 2,
	KVG_STREAM_NON_BLOCKING = 1,
	KVG_EVENT_DISABLE_TIMING = 2,
	KVG_CAPTURE_NONE = 0,
	KVG_CAPTURE_MODE_RELAXED = 2,
	KVG_POINTER_MEMORY_TYPE = 2,
	KVG_POINTER_DEVICE_ORDINAL = 9,
	KVG_POINTER_RANGE_START = 11,
	KVG_POINTER_RANGE_SIZE = 12,
	KVG_MEMORY_HOST = 1,
	KVG_FLUSH_OPTION_HOST = 1,
	KVG_FLUSH_CURRENT_CONTEXT = 0,
	KVG_FLUSH_TO_OWNER = 100,
	KVG_FLUSH_TO_ALL_DEVICES = 200,
	KVG_ORDERING_NONE = 0,
	KVG_ORDERING_OWNER = 100,
	KVG_ORDERING_ALL_DEVICES = 200,
};

/* Every function: the member of struct kvg_driver that it becomes, its name in the library, and its parameters. NEED:
 * drivers from 470 (CUDA 11.4) on have it; MAY: NULL in those that have it not. */
#define KVG_FUNCTIONS(NEED, MAY)                                                                                      \
	NEED(init, "cuInit", (unsigned flags))                                                                        \
	NEED(get_version, "cuDriverGetVersion", (int *version))                                                       \
	NEED(error_name, "cuGetErrorName", (kvg_result result, const char **text))                                    \
	NEED(error_string, "cuGetErrorString", (kvg_result result, const char **text))                                \
	NEED(device_count, "cuDeviceGetCount", (int *count))                                                          \
	NEED(device_get, "cuDeviceGet", (kvg_device *device, int ordinal))                                            \
	NEED(device_uuid, "cuDeviceGetUuid_v2", (struct kvg_uuid *uuid, kvg_device device))                           \
	NEED(device_name, "cuDeviceGetName", (char *name, int size, kvg_device device))                               \
	NEED(device_attribute, "cuDeviceGetAttribute", (int *value, int attribute, kvg_device device))                \
	NEED(device_memory, "cuDeviceTotalMem_v2", (size_t *bytes, kvg_device device))                                \
	NEED(primary_retain, "cuDevicePrimaryCtxRetain", (kvg_context *context, kvg_device device))                   \
	NEED(primary_release, "cuDevicePrimaryCtxRelease_v2", (kvg_device device))                                    \
	NEED(context_current, "cuCtxGetCurrent", (kvg_context *context))                                              \
	NEED(context_push, "cuCtxPushCurrent_v2", (kvg_context context))                                              \
	NEED(context_pop, "cuCtxPopCurrent_v2", (kvg_context *context))                                               \
	NEED(context_device, "cuCtxGetDevice", (kvg_device *device))                                                  \
	NEED(context_synchronize, "cuCtxSynchronize", (void))                                                         \
	NEED(memory_create, "cuMemCreate",                                                                            \
	     (kvg_handle *handle, size_t size, const struct kvg_prop *prop, unsigned long long flags))                \
	NEED(memory_release, "cuMemRelease", (kvg_handle handle))                                                     \
	NEED(memory_granularity, "cuMemGetAllocationGranularity",                                                     \
	     (size_t *granularity, const struct kvg_prop *prop, int option))                                          \
	NEED(memory_export, "cuMemExportToShareableHandle",                                                           \
	     (void *to, kvg_handle handle, int type, unsigned long long flags))                                       \
	NEED(memory_import, "cuMemImportFromShareableHandle", (kvg_handle *handle, void *from, int type))             \
	NEED(address_reserve, "cuMemAddressReserve",                                                                  \
	     (kvg_pointer *at, size_t size, size_t alignment, kvg_pointer hint, unsigned long long flags))            \
	NEED(address_free, "cuMemAddressFree", (kvg_pointer at, size_t size))                                         \
	NEED(memory_map, "cuMemMap",                                                                                  \
	     (kvg_pointer at, size_t size, size_t offset, kvg_handle handle, unsigned long long flags))               \
	NEED(memory_unmap, "cuMemUnmap", (kvg_pointer at, size_t size))                                               \
	NEED(memory_access, "cuMemSetAccess",                                                                         \
	     (kvg_pointer at, size_t size, const struct kvg_access *access, size_t count))                            \
	NEED(memory_alloc, "cuMemAlloc_v2", (kvg_pointer *at, size_t size))                                           \
	NEED(memory_free, "cuMemFree_v2", (kvg_pointer at))                                                           \
	NEED(ipc_get, "cuIpcGetMemHandle", (struct kvg_ipc_handle *handle, kvg_pointer at))                           \
	NEED(ipc_open, "cuIpcOpenMemHandle_v2",                                                                       \
	     (kvg_pointer *at, struct kvg_ipc_handle handle, unsigned flags))                                         \
	NEED(ipc_close, "cuIpcCloseMemHandle", (kvg_pointer at))                                                      \
	NEED(host_register, "cuMemHostRegister_v2", (void *at, size_t size, unsigned flags))                          \
	NEED(host_unregister, "cuMemHostUnregister", (void *at))                                                      \
	NEED(host_alloc, "cuMemHostAlloc", (void **at, size_t size, unsigned flags))                                  \
	NEED(host_free, "cuMemFreeHost", (void *at))                                                                  \
	NEED(copy_on, "cuMemcpyAsync", (kvg_pointer to, kvg_pointer from, size_t size, kvg_stream stream))            \
	NEED(stream_create, "cuStreamCreate", (kvg_stream *stream, unsigned flags))                                   \
	NEED(stream_synchronize, "cuStreamSynchronize", (kvg_stream stream))                                          \
	NEED(stream_destroy, "cuStreamDestroy_v2", (kvg_stream stream))                                               \
	NEED(stream_capturing, "cuStreamIsCapturing", (kvg_stream stream, int *status))                               \
	NEED(capture_mode, "cuThreadExchangeStreamCaptureMode", (int *mode))                                          \
	NEED(stream_context, "cuStreamGetCtx", (kvg_stream stream, kvg_context *context))                             \
	NEED(call_on, "cuLaunchHostFunc", (kvg_stream stream, kvg_host_fn *fn, void *arg))                            \
	NEED(event_create, "cuEventCreate", (kvg_event *event, unsigned flags))                                       \
	NEED(event_record, "cuEventRecord", (kvg_event event, kvg_stream stream))                                     \
	NEED(event_query, "cuEventQuery", (kvg_event event))                                                          \
	NEED(event_destroy, "cuEventDestroy_v2", (kvg_event event))                                                   \
	NEED(module_load, "cuModuleLoadData", (kvg_module *module, const void *image))                                \
	NEED(module_unload, "cuModuleUnload", (kvg_module module))                                                    \
	NEED(module_function, "cuModuleGetFunction",                                                                  \
	     (kvg_function *function, kvg_module module, const char *name))                                           \
	NEED(launch, "cuLaunchKernel",                                                                                \
	     (kvg_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,             \
	      unsigned block_y, unsigned block_z, unsigned shared_bytes, kvg_stream stream, void **parameters,        \
	      void **extra))                                                                                          \
	MAY(range_handle, "cuMemGetHandleForAddressRange",                                                            \
	    (void *handle, kvg_pointer at, size_t size, int type, unsigned long long flags))                          \
	MAY(flush_writes, "cuFlushGPUDirectRDMAWrites", (int target, int scope))                                      \
	MAY(pointer_attribute, "cuPointerGetAttribute", (void *value, int attribute, kvg_pointer at))

#define KVG_MEMBER(member, name, parameters) kvg_result(*member) parameters;
struct kvg_driver {
	KVG_FUNCTIONS(KVG_MEMBER, KVG_MEMBER)
	int version; /* as cuDriverGetVersion() has it: 12040 is CUDA 12.4 */
};
#undef KVG_MEMBER

/* ---- What kvshm makes of it -------------------------------------------------------------------------------- */

/* The driver, loaded and initialized by the first call of the process (by one thread; others wait for it). A failure is
 * not kept: the next call tries again, so that a service may start before the library is there. (Whether a driver that
 * could not be initialized can be later, in the same process, is the driver's to say.) It is never unloaded.
 *   -ENODEV      there is no driver (libcuda.so.1), or only a toolkit's stub of it; or no device
 *   -EOPNOTSUPP  it is older than 470; or it does not fit the kernel's module
 *   -EACCES      the devices' files can't be opened
 *   -ECHILD      this process was forked by one that had initialized CUDA: the driver can't be used in it
 *   and others as kvg_fault() has them */
int kvg_driver(const struct kvg_driver **driver);

/* It, if it was loaded by an earlier call; else NULL. For teardown. */
const struct kvg_driver *kvg_driver_loaded(void);

/* Makes what the driver returned an errno and a text: "cannot " what ": ", what the driver says (name and code), and
 * what to do, for those results for which that is known: out of memory, no permission (containers, IPC), MPS's limits,
 * exclusive compute mode, a context that an earlier error has ruined, forks, a driver that is older than what is
 * asked. Returns the errno, negative. Of KVG_SUCCESS it must not be called. */
int kvg_fault(const struct kvg_driver *driver, kvg_result result, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
