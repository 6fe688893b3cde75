/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * abi: what gpu/driver.h declares of the CUDA driver's interface is what cuda.h has: every value, the sizes and
 * places of structs, and of each function the parameters, one by one. In C++, where a function's type can be taken
 * apart. All of it is seen by the compiler; that nothing of KVG_FUNCTIONS is left out is seen when it runs.
 */
#include "config.h"

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>

#include <cuda.h>

#include "driver.h"

#define SAME_VALUE(ours, theirs) static_assert(static_cast<int>(ours) == static_cast<int>(theirs), #ours);
#define SAME_SIZE(ours, theirs) static_assert(sizeof(ours) == sizeof(theirs), #ours);
#define SAME_PLACE(ours, theirs, member, its)                                               \
	static_assert(offsetof(ours, member) == offsetof(theirs, its), #ours ": " #member); \
	static_assert(sizeof(std::declval<ours>().member) == sizeof(std::declval<theirs>().its), #ours ": " #member);

SAME_VALUE(KVG_SUCCESS, CUDA_SUCCESS)
SAME_VALUE(KVG_INVALID_VALUE, CUDA_ERROR_INVALID_VALUE)
SAME_VALUE(KVG_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY)
SAME_VALUE(KVG_NOT_INITIALIZED, CUDA_ERROR_NOT_INITIALIZED)
SAME_VALUE(KVG_DEINITIALIZED, CUDA_ERROR_DEINITIALIZED)
SAME_VALUE(KVG_STUB_LIBRARY, CUDA_ERROR_STUB_LIBRARY)
SAME_VALUE(KVG_NEWER_DRIVER_NEEDED, CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER)
SAME_VALUE(KVG_DEVICE_UNAVAILABLE, CUDA_ERROR_DEVICE_UNAVAILABLE)
SAME_VALUE(KVG_NO_DEVICE, CUDA_ERROR_NO_DEVICE)
SAME_VALUE(KVG_INVALID_DEVICE, CUDA_ERROR_INVALID_DEVICE)
SAME_VALUE(KVG_NOT_LICENSED, CUDA_ERROR_DEVICE_NOT_LICENSED)
SAME_VALUE(KVG_INVALID_CONTEXT, CUDA_ERROR_INVALID_CONTEXT)
SAME_VALUE(KVG_MAP_FAILED, CUDA_ERROR_MAP_FAILED)
SAME_VALUE(KVG_ALREADY_MAPPED, CUDA_ERROR_ALREADY_MAPPED)
SAME_VALUE(KVG_NO_BINARY_FOR_GPU, CUDA_ERROR_NO_BINARY_FOR_GPU)
SAME_VALUE(KVG_ECC_UNCORRECTABLE, CUDA_ERROR_ECC_UNCORRECTABLE)
SAME_VALUE(KVG_INVALID_PTX, CUDA_ERROR_INVALID_PTX)
SAME_VALUE(KVG_NVLINK_UNCORRECTABLE, CUDA_ERROR_NVLINK_UNCORRECTABLE)
SAME_VALUE(KVG_JIT_COMPILER_NOT_FOUND, CUDA_ERROR_JIT_COMPILER_NOT_FOUND)
SAME_VALUE(KVG_UNSUPPORTED_PTX, CUDA_ERROR_UNSUPPORTED_PTX_VERSION)
SAME_VALUE(KVG_JIT_COMPILATION_DISABLED, CUDA_ERROR_JIT_COMPILATION_DISABLED)
SAME_VALUE(KVG_OPERATING_SYSTEM, CUDA_ERROR_OPERATING_SYSTEM)
SAME_VALUE(KVG_INVALID_HANDLE, CUDA_ERROR_INVALID_HANDLE)
SAME_VALUE(KVG_NOT_FOUND, CUDA_ERROR_NOT_FOUND)
SAME_VALUE(KVG_NOT_READY, CUDA_ERROR_NOT_READY)
SAME_VALUE(KVG_ILLEGAL_ADDRESS, CUDA_ERROR_ILLEGAL_ADDRESS)
SAME_VALUE(KVG_LAUNCH_TIMEOUT, CUDA_ERROR_LAUNCH_TIMEOUT)
SAME_VALUE(KVG_CONTEXT_IS_DESTROYED, CUDA_ERROR_CONTEXT_IS_DESTROYED)
SAME_VALUE(KVG_ASSERT, CUDA_ERROR_ASSERT)
SAME_VALUE(KVG_TOO_MANY_PEERS, CUDA_ERROR_TOO_MANY_PEERS)
SAME_VALUE(KVG_HOST_MEMORY_ALREADY_REGISTERED, CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED)
SAME_VALUE(KVG_HOST_MEMORY_NOT_REGISTERED, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED)
SAME_VALUE(KVG_HARDWARE_STACK_ERROR, CUDA_ERROR_HARDWARE_STACK_ERROR)
SAME_VALUE(KVG_ILLEGAL_INSTRUCTION, CUDA_ERROR_ILLEGAL_INSTRUCTION)
SAME_VALUE(KVG_MISALIGNED_ADDRESS, CUDA_ERROR_MISALIGNED_ADDRESS)
SAME_VALUE(KVG_INVALID_ADDRESS_SPACE, CUDA_ERROR_INVALID_ADDRESS_SPACE)
SAME_VALUE(KVG_INVALID_PC, CUDA_ERROR_INVALID_PC)
SAME_VALUE(KVG_LAUNCH_FAILED, CUDA_ERROR_LAUNCH_FAILED)
SAME_VALUE(KVG_NOT_PERMITTED, CUDA_ERROR_NOT_PERMITTED)
SAME_VALUE(KVG_NOT_SUPPORTED, CUDA_ERROR_NOT_SUPPORTED)
SAME_VALUE(KVG_SYSTEM_NOT_READY, CUDA_ERROR_SYSTEM_NOT_READY)
SAME_VALUE(KVG_SYSTEM_DRIVER_MISMATCH, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)
SAME_VALUE(KVG_COMPAT_NOT_SUPPORTED, CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE)
SAME_VALUE(KVG_MPS_CONNECTION_FAILED, CUDA_ERROR_MPS_CONNECTION_FAILED)
SAME_VALUE(KVG_MPS_RPC_FAILURE, CUDA_ERROR_MPS_RPC_FAILURE)
SAME_VALUE(KVG_MPS_SERVER_NOT_READY, CUDA_ERROR_MPS_SERVER_NOT_READY)
SAME_VALUE(KVG_MPS_MAX_CLIENTS, CUDA_ERROR_MPS_MAX_CLIENTS_REACHED)
SAME_VALUE(KVG_MPS_MAX_CONNECTIONS, CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED)
SAME_VALUE(KVG_MPS_CLIENT_TERMINATED, CUDA_ERROR_MPS_CLIENT_TERMINATED)
SAME_VALUE(KVG_CAPTURE_UNSUPPORTED, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
SAME_VALUE(KVG_CAPTURE_IMPLICIT, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT)
SAME_VALUE(KVG_CAPTURE_WRONG_THREAD, CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD)
SAME_VALUE(KVG_UNKNOWN, CUDA_ERROR_UNKNOWN)
SAME_VALUE(KVG_ATTRIBUTE_MULTIPROCESSORS, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
SAME_VALUE(KVG_ATTRIBUTE_UNIFIED_ADDRESSING, CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING)
SAME_VALUE(KVG_ATTRIBUTE_PAGEABLE_ACCESS, CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS)
SAME_VALUE(KVG_ATTRIBUTE_VMM, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED)
SAME_VALUE(KVG_ATTRIBUTE_FD_EXPORT, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED)
SAME_VALUE(KVG_ATTRIBUTE_RDMA_WITH_VMM, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED)
SAME_VALUE(KVG_ATTRIBUTE_FLUSH_OPTIONS, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_FLUSH_WRITES_OPTIONS)
SAME_VALUE(KVG_ATTRIBUTE_WRITES_ORDERING, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WRITES_ORDERING)
SAME_VALUE(KVG_ATTRIBUTE_DMA_BUF, CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED)
SAME_VALUE(KVG_ATTRIBUTE_IPC, CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED)
SAME_VALUE(KVG_ATTRIBUTE_MPS, CU_DEVICE_ATTRIBUTE_MPS_ENABLED)
SAME_VALUE(KVG_ALLOCATION_PINNED, CU_MEM_ALLOCATION_TYPE_PINNED)
SAME_VALUE(KVG_LOCATION_DEVICE, CU_MEM_LOCATION_TYPE_DEVICE)
SAME_VALUE(KVG_HANDLE_FD, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
SAME_VALUE(KVG_ACCESS_READ_WRITE, CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
SAME_VALUE(KVG_GRANULARITY_RECOMMENDED, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED)
SAME_VALUE(KVG_RANGE_DMA_BUF, CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD)
SAME_VALUE(KVG_IPC_LAZY_PEER_ACCESS, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS)
SAME_VALUE(KVG_HOST_PORTABLE, CU_MEMHOSTALLOC_PORTABLE)
SAME_VALUE(KVG_HOST_DEVICE_MAP, CU_MEMHOSTALLOC_DEVICEMAP)
SAME_VALUE(KVG_STREAM_NON_BLOCKING, CU_STREAM_NON_BLOCKING)
SAME_VALUE(KVG_EVENT_DISABLE_TIMING, CU_EVENT_DISABLE_TIMING)
SAME_VALUE(KVG_CAPTURE_NONE, CU_STREAM_CAPTURE_STATUS_NONE)
SAME_VALUE(KVG_CAPTURE_MODE_RELAXED, CU_STREAM_CAPTURE_MODE_RELAXED)
SAME_VALUE(KVG_POINTER_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_MEMORY_TYPE)
SAME_VALUE(KVG_POINTER_DEVICE_ORDINAL, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
SAME_VALUE(KVG_POINTER_RANGE_START, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR)
SAME_VALUE(KVG_POINTER_RANGE_SIZE, CU_POINTER_ATTRIBUTE_RANGE_SIZE)
SAME_VALUE(KVG_MEMORY_HOST, CU_MEMORYTYPE_HOST)
SAME_VALUE(KVG_FLUSH_OPTION_HOST, CU_FLUSH_GPU_DIRECT_RDMA_WRITES_OPTION_HOST)
SAME_VALUE(KVG_FLUSH_CURRENT_CONTEXT, CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TARGET_CURRENT_CTX)
SAME_VALUE(KVG_FLUSH_TO_OWNER, CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TO_OWNER)
SAME_VALUE(KVG_FLUSH_TO_ALL_DEVICES, CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TO_ALL_DEVICES)
SAME_VALUE(KVG_ORDERING_NONE, CU_GPU_DIRECT_RDMA_WRITES_ORDERING_NONE)
SAME_VALUE(KVG_ORDERING_OWNER, CU_GPU_DIRECT_RDMA_WRITES_ORDERING_OWNER)
SAME_VALUE(KVG_ORDERING_ALL_DEVICES, CU_GPU_DIRECT_RDMA_WRITES_ORDERING_ALL_DEVICES)
static_assert(CU_MEMHOSTREGISTER_PORTABLE == CU_MEMHOSTALLOC_PORTABLE, "one value for both");
static_assert(CU_MEMHOSTREGISTER_DEVICEMAP == CU_MEMHOSTALLOC_DEVICEMAP, "one value for both");

SAME_SIZE(kvg_result, CUresult)
SAME_SIZE(kvg_device, CUdevice)
SAME_SIZE(kvg_pointer, CUdeviceptr)
SAME_SIZE(kvg_handle, CUmemGenericAllocationHandle)
SAME_SIZE(kvg_uuid, CUuuid)
SAME_SIZE(kvg_ipc_handle, CUipcMemHandle)
SAME_SIZE(kvg_location, CUmemLocation)
SAME_SIZE(kvg_prop, CUmemAllocationProp)
SAME_SIZE(kvg_access, CUmemAccessDesc)
SAME_PLACE(kvg_location, CUmemLocation, type, type)
SAME_PLACE(kvg_location, CUmemLocation, id, id)
SAME_PLACE(kvg_prop, CUmemAllocationProp, type, type)
SAME_PLACE(kvg_prop, CUmemAllocationProp, handle_types, requestedHandleTypes)
SAME_PLACE(kvg_prop, CUmemAllocationProp, location, location)
SAME_PLACE(kvg_prop, CUmemAllocationProp, windows, win32HandleMetaData)
SAME_PLACE(kvg_prop, CUmemAllocationProp, compression, allocFlags.compressionType)
SAME_PLACE(kvg_prop, CUmemAllocationProp, rdma_capable, allocFlags.gpuDirectRDMACapable)
SAME_PLACE(kvg_prop, CUmemAllocationProp, usage, allocFlags.usage)
SAME_PLACE(kvg_prop, CUmemAllocationProp, reserved, allocFlags.reserved)
SAME_PLACE(kvg_access, CUmemAccessDesc, location, location)
SAME_PLACE(kvg_access, CUmemAccessDesc, flags, flags)

/* How an argument is handed over: an enum as the integer that it is stored in, a struct by its size. */
enum kind { INTEGER, ADDRESS, STRUCT };

template <class T> constexpr kind kind_of()
{
	return std::is_pointer<T>::value			      ? ADDRESS
	       : std::is_enum<T>::value || std::is_integral<T>::value ? INTEGER
								      : STRUCT;
}

template <class Ours, class Theirs> constexpr bool same()
{
	return kind_of<Ours>() == kind_of<Theirs>() && sizeof(Ours) == sizeof(Theirs) &&
	       alignof(Ours) == alignof(Theirs);
}

template <class... T> struct list {
};

template <class Ours, class Theirs> struct same_list : std::false_type { /* of another length */
};

template <> struct same_list<list<>, list<>> : std::true_type {
};

template <class A, class... As, class B, class... Bs>
struct same_list<list<A, As...>, list<B, Bs...>>
    : std::bool_constant<same<A, B>() && same_list<list<As...>, list<Bs...>>::value> {
};

template <class Ours, class Theirs> struct same_function;

template <class R, class... A, class S, class... B>
struct same_function<R (*)(A...), S (*)(B...)> : same_list<list<R, A...>, list<S, B...>> {
};

#define FUNCTIONS(FUNCTION)                                         \
	FUNCTION(init, cuInit)                                      \
	FUNCTION(get_version, cuDriverGetVersion)                   \
	FUNCTION(error_name, cuGetErrorName)                        \
	FUNCTION(error_string, cuGetErrorString)                    \
	FUNCTION(device_count, cuDeviceGetCount)                    \
	FUNCTION(device_get, cuDeviceGet)                           \
	FUNCTION(device_uuid, cuDeviceGetUuid_v2)                   \
	FUNCTION(device_name, cuDeviceGetName)                      \
	FUNCTION(device_attribute, cuDeviceGetAttribute)            \
	FUNCTION(device_memory, cuDeviceTotalMem_v2)                \
	FUNCTION(primary_retain, cuDevicePrimaryCtxRetain)          \
	FUNCTION(primary_release, cuDevicePrimaryCtxRelease_v2)     \
	FUNCTION(context_current, cuCtxGetCurrent)                  \
	FUNCTION(context_push, cuCtxPushCurrent_v2)                 \
	FUNCTION(context_pop, cuCtxPopCurrent_v2)                   \
	FUNCTION(context_device, cuCtxGetDevice)                    \
	FUNCTION(context_synchronize, cuCtxSynchronize)             \
	FUNCTION(memory_create, cuMemCreate)                        \
	FUNCTION(memory_release, cuMemRelease)                      \
	FUNCTION(memory_granularity, cuMemGetAllocationGranularity) \
	FUNCTION(memory_export, cuMemExportToShareableHandle)       \
	FUNCTION(memory_import, cuMemImportFromShareableHandle)     \
	FUNCTION(address_reserve, cuMemAddressReserve)              \
	FUNCTION(address_free, cuMemAddressFree)                    \
	FUNCTION(memory_map, cuMemMap)                              \
	FUNCTION(memory_unmap, cuMemUnmap)                          \
	FUNCTION(memory_access, cuMemSetAccess)                     \
	FUNCTION(memory_alloc, cuMemAlloc_v2)                       \
	FUNCTION(memory_free, cuMemFree_v2)                         \
	FUNCTION(ipc_get, cuIpcGetMemHandle)                        \
	FUNCTION(ipc_open, cuIpcOpenMemHandle_v2)                   \
	FUNCTION(ipc_close, cuIpcCloseMemHandle)                    \
	FUNCTION(host_register, cuMemHostRegister_v2)               \
	FUNCTION(host_unregister, cuMemHostUnregister)              \
	FUNCTION(host_alloc, cuMemHostAlloc)                        \
	FUNCTION(host_free, cuMemFreeHost)                          \
	FUNCTION(copy_on, cuMemcpyAsync)                            \
	FUNCTION(stream_create, cuStreamCreate)                     \
	FUNCTION(stream_synchronize, cuStreamSynchronize)           \
	FUNCTION(stream_destroy, cuStreamDestroy_v2)                \
	FUNCTION(stream_capturing, cuStreamIsCapturing)             \
	FUNCTION(capture_mode, cuThreadExchangeStreamCaptureMode)   \
	FUNCTION(stream_context, cuStreamGetCtx)                    \
	FUNCTION(call_on, cuLaunchHostFunc)                         \
	FUNCTION(event_create, cuEventCreate)                       \
	FUNCTION(event_record, cuEventRecord)                       \
	FUNCTION(event_query, cuEventQuery)                         \
	FUNCTION(event_destroy, cuEventDestroy_v2)                  \
	FUNCTION(module_load, cuModuleLoadData)                     \
	FUNCTION(module_unload, cuModuleUnload)                     \
	FUNCTION(module_function, cuModuleGetFunction)              \
	FUNCTION(launch, cuLaunchKernel)                            \
	FUNCTION(range_handle, cuMemGetHandleForAddressRange)       \
	FUNCTION(flush_writes, cuFlushGPUDirectRDMAWrites)          \
	FUNCTION(pointer_attribute, cuPointerGetAttribute)

#define SAME_FUNCTION(member, function) \
	static_assert(same_function<decltype(kvg_driver::member), decltype(&function)>::value, #function);
FUNCTIONS(SAME_FUNCTION)

struct name {
	const char *member, *function;
};

#define OURS(member, name, parameters) {#member, name},
static const name ours[] = {KVG_FUNCTIONS(OURS, OURS)};

#define THEIRS(member, function) {#member, #function},
static const name theirs[] = {FUNCTIONS(THEIRS)};

int main()
{
	constexpr size_t count = sizeof(ours) / sizeof(*ours);

	static_assert(count == sizeof(theirs) / sizeof(*theirs), "a function is compared with none");
	for (size_t i = 0; i < count; i++)
		if (strcmp(ours[i].member, theirs[i].member) != 0 ||
		    strcmp(ours[i].function, theirs[i].function) != 0) {
			printf("%s is %s in driver.h, and was compared with %s\n", ours[i].member, ours[i].function,
			       theirs[i].function);
			return 1;
		}
	printf("%zu functions are as in cuda.h of CUDA %d.%d\n", count, CUDA_VERSION / 1000, CUDA_VERSION % 1000 / 10);
	return 0;
}
