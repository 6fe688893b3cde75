/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * texts.c: the names and texts of the driver's results.
 */
#include "config.h"
#include <stddef.h>
#include "inner.h"

static const struct {
	kvg_result result;
	const char *name, *text;
} texts[] = {
	{KVG_SUCCESS, "CUDA_SUCCESS", "no error"},
	{KVG_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
	{KVG_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
	{KVG_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
	{KVG_DEINITIALIZED, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
	{KVG_STUB_LIBRARY, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"},
	{KVG_NEWER_DRIVER_NEEDED, "CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER",
	 "API call is not supported in the installed CUDA driver"},
	{KVG_DEVICE_UNAVAILABLE, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
	{KVG_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
	{KVG_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
	{KVG_NOT_LICENSED, "CUDA_ERROR_DEVICE_NOT_LICENSED", "device is not licensed"},
	{KVG_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
	{KVG_MAP_FAILED, "CUDA_ERROR_MAP_FAILED", "mapping of buffer object failed"},
	{KVG_ALREADY_MAPPED, "CUDA_ERROR_ALREADY_MAPPED", "resource already mapped"},
	{KVG_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU",
	 "no kernel image is available for execution on the device"},
	{KVG_ECC_UNCORRECTABLE, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
	{KVG_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
	{KVG_NVLINK_UNCORRECTABLE, "CUDA_ERROR_NVLINK_UNCORRECTABLE", "uncorrectable NVLink error detected"},
	{KVG_JIT_COMPILER_NOT_FOUND, "CUDA_ERROR_JIT_COMPILER_NOT_FOUND", "PTX JIT compiler library not found"},
	{KVG_UNSUPPORTED_PTX, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
	 "the provided PTX was compiled with an unsupported toolchain."},
	{KVG_JIT_COMPILATION_DISABLED, "CUDA_ERROR_JIT_COMPILATION_DISABLED", "PTX JIT compilation was disabled"},
	{KVG_OPERATING_SYSTEM, "CUDA_ERROR_OPERATING_SYSTEM", "OS call failed or operation not supported on this OS"},
	{KVG_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
	{KVG_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
	{KVG_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
	{KVG_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
	{KVG_LAUNCH_TIMEOUT, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
	{KVG_CONTEXT_IS_DESTROYED, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
	{KVG_ASSERT, "CUDA_ERROR_ASSERT", "device-side assert triggered"},
	{KVG_TOO_MANY_PEERS, "CUDA_ERROR_TOO_MANY_PEERS", "peer mapping resources exhausted"},
	{KVG_HOST_MEMORY_ALREADY_REGISTERED, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
	 "part or all of the requested memory range is already mapped"},
	{KVG_HOST_MEMORY_NOT_REGISTERED, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",
	 "pointer does not correspond to a registered memory region"},
	{KVG_HARDWARE_STACK_ERROR, "CUDA_ERROR_HARDWARE_STACK_ERROR", "hardware stack error"},
	{KVG_ILLEGAL_INSTRUCTION, "CUDA_ERROR_ILLEGAL_INSTRUCTION", "an illegal instruction was encountered"},
	{KVG_MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
	{KVG_INVALID_ADDRESS_SPACE, "CUDA_ERROR_INVALID_ADDRESS_SPACE",
	 "operation not supported on global/shared address space"},
	{KVG_INVALID_PC, "CUDA_ERROR_INVALID_PC", "invalid program counter"},
	{KVG_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
	{KVG_NOT_PERMITTED, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
	{KVG_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
	{KVG_SYSTEM_NOT_READY, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"},
	{KVG_SYSTEM_DRIVER_MISMATCH, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
	 "system has unsupported display driver / cuda driver combination"},
	{KVG_COMPAT_NOT_SUPPORTED, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
	 "forward compatibility was attempted on non supported HW"},
	{KVG_MPS_CONNECTION_FAILED, "CUDA_ERROR_MPS_CONNECTION_FAILED",
	 "MPS client failed to connect to the MPS control daemon or the MPS server"},
	{KVG_MPS_RPC_FAILURE, "CUDA_ERROR_MPS_RPC_FAILURE",
	 "the remote procedural call between the MPS server and "
	 "the MPS client failed"},
	{KVG_MPS_SERVER_NOT_READY, "CUDA_ERROR_MPS_SERVER_NOT_READY",
	 "MPS server is not ready to accept new MPS client requests"},
	{KVG_MPS_MAX_CLIENTS, "CUDA_ERROR_MPS_MAX_CLIENTS_REACHED",
	 "the hardware resources required to create MPS client have been exhausted"},
	{KVG_MPS_MAX_CONNECTIONS, "CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED",
	 "the hardware resources required to support device connections have been exhausted"},
	{KVG_MPS_CLIENT_TERMINATED, "CUDA_ERROR_MPS_CLIENT_TERMINATED",
	 "the MPS client has been terminated by the server"},
	{KVG_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
	 "operation not permitted when stream is capturing"},
	{KVG_CAPTURE_IMPLICIT, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
	 "operation would make the legacy stream depend on a capturing blocking stream"},
	{KVG_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

static kvg_result find(kvg_result result, const char **text, bool name)
{
	size_t i;

	for (i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (texts[i].result == result) {
			*text = name ? texts[i].name : texts[i].text;
			return KVG_SUCCESS;
		}
	*text = NULL;
	return KVG_INVALID_VALUE;
}

SI_PUBLIC kvg_result cu_error_name(kvg_result result, const char **text)
{
	return find(result, text, true);
}

SI_PUBLIC kvg_result cu_error_string(kvg_result result, const char **text)
{
	return find(result, text, false);
}
