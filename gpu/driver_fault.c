/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * driver_fault.c: what the driver's errors are to users: an errno, and a text that says what to do. See driver.h.
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>

#include "driver.h"
#include "fault.h"

static const char
	no_memory[] = "make the pool smaller, or end what else uses the GPU (nvidia-smi shows it)",
	after_fork[] = "CUDA was initialized before fork(), and can't be used in the child: start the process "
		       "anew (exec; in Python, multiprocessing's \"spawn\")",
	update[] = "update the driver",
	busy[] = "the GPU takes no more processes: it is in an exclusive mode (nvidia-smi -c DEFAULT ends that; "
		 "MPS shares it), or is being reset",
	lost[] = "the context is ruined by an earlier error of the program's own work on the GPU, and with it all "
		 "that it had: end the process",
	gone[] = "the calling thread's context is no more, or none of CUDA's: make one current that lives",
	permit[] = "this process may not: in a container, it takes NVIDIA's container toolkit, and for --export "
		   "ipc the pid and ipc namespaces of kvshmd",
	support[] = "this GPU, or its driver, can't do that",
	compiler[] = "the driver can't take the copy kernel: install all of it (libnvidia-ptxjitcompiler.so.1), "
		     "or update it",
	fabric[] = "start the fabric manager (systemctl start nvidia-fabricmanager), and wait until it is ready",
	mismatch[] = "the driver's library and its kernel module are of different versions: restart the machine, or "
		     "the container, since the driver was updated",
	compat[] = "a library of CUDA's forward compatibility is found first, and this GPU can't use it: take its "
		   "directory out of LD_LIBRARY_PATH",
	mps[] = "MPS does not answer: is nvidia-cuda-mps-control running, and CUDA_MPS_PIPE_DIRECTORY the same "
		"here?",
	mps_full[] = "MPS has as many clients as it can take: end some",
	mps_ended[] = "MPS has ended this client: end the process",
	capture[] = "a stream is being captured into a graph meanwhile: end the capture before",
	registered[] = "the program has registered that memory itself: leave it to one of both",
	exits[] = "the process is about to end";

static const struct meaning {
	kvg_result result;
	int error;
	const char *advice;
} meanings[] = {
	{KVG_OUT_OF_MEMORY, ENOMEM, no_memory},
	{KVG_NOT_INITIALIZED, ECHILD, after_fork},
	{KVG_DEINITIALIZED, EIO, exits},
	{KVG_INSUFFICIENT_DRIVER, EOPNOTSUPP, update},
	{KVG_NEWER_DRIVER_NEEDED, EOPNOTSUPP, update},
	{KVG_DEVICE_UNAVAILABLE, EBUSY, busy},
	{KVG_NO_DEVICE, ENODEV, "nvidia-smi -L lists the GPUs that there are; a container gets them by --gpus all"},
	{KVG_INVALID_DEVICE, ENODEV,
	 "nvidia-smi -L lists the GPUs that there are; a container gets them by --gpus all"},
	{KVG_NOT_LICENSED, EPERM, "the virtual GPU has no license: see to its license server"},
	{KVG_INVALID_CONTEXT, EIO, gone},
	{KVG_CONTEXT_IS_DESTROYED, EIO, gone},
	{KVG_MAP_FAILED, ENOMEM, "the driver has no room for it among its addresses, or the GPU none in its window"},
	{KVG_ECC_UNCORRECTABLE, EIO, lost},
	{KVG_NVLINK_UNCORRECTABLE, EIO, lost},
	{KVG_NO_BINARY_FOR_GPU, EOPNOTSUPP, compiler},
	{KVG_INVALID_PTX, EOPNOTSUPP, compiler},
	{KVG_JIT_COMPILER_NOT_FOUND, EOPNOTSUPP, compiler},
	{KVG_UNSUPPORTED_PTX, EOPNOTSUPP, compiler},
	{KVG_JIT_COMPILATION_DISABLED, EOPNOTSUPP,
	 "unset CUDA_DISABLE_PTX_JIT: the copy kernel is compiled by the driver"},
	{KVG_OPERATING_SYSTEM, EPERM, permit},
	{KVG_ILLEGAL_ADDRESS, EIO, lost},
	{KVG_LAUNCH_TIMEOUT, EIO, lost},
	{KVG_ASSERT, EIO, lost},
	{KVG_TOO_MANY_PEERS, EBUSY, "the GPU reaches as many other GPUs as it can"},
	{KVG_HOST_MEMORY_ALREADY_REGISTERED, EEXIST, registered},
	{KVG_HARDWARE_STACK_ERROR, EIO, lost},
	{KVG_ILLEGAL_INSTRUCTION, EIO, lost},
	{KVG_MISALIGNED_ADDRESS, EIO, lost},
	{KVG_INVALID_ADDRESS_SPACE, EIO, lost},
	{KVG_INVALID_PC, EIO, lost},
	{KVG_LAUNCH_FAILED, EIO, lost},
	{KVG_NOT_PERMITTED, EPERM, permit},
	{KVG_NOT_SUPPORTED, EOPNOTSUPP, support},
	{KVG_SYSTEM_NOT_READY, EBUSY, fabric},
	{KVG_SYSTEM_DRIVER_MISMATCH, EOPNOTSUPP, mismatch},
	{KVG_COMPAT_NOT_SUPPORTED, EOPNOTSUPP, compat},
	{KVG_MPS_CONNECTION_FAILED, EBUSY, mps},
	{KVG_MPS_RPC_FAILURE, EIO, mps},
	{KVG_MPS_SERVER_NOT_READY, EBUSY, mps},
	{KVG_MPS_MAX_CLIENTS, EBUSY, mps_full},
	{KVG_MPS_MAX_CONNECTIONS, EBUSY, mps_full},
	{KVG_MPS_CLIENT_TERMINATED, EIO, mps_ended},
	{KVG_CAPTURE_UNSUPPORTED, EBUSY, capture},
	{KVG_CAPTURE_IMPLICIT, EBUSY, capture},
	{KVG_UNKNOWN, EIO,
	 "the kernel's log may say why (dmesg, NVRM); nvidia-uvm must be loaded (nvidia-modprobe -u)"},
};

/* Of one that is not in the table the driver's own text has to do. */
static struct meaning find_meaning(kvg_result result)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (meanings[i].result == result)
			return meanings[i];
	return (struct meaning){result, EIO, "the kernel's log may say why (dmesg, NVRM)"};
}

int kvg_fault(const struct kvg_driver *driver, kvg_result result, const char *format, ...)
{
	const struct meaning meaning = find_meaning(result);
	const char *name = NULL, *text = NULL;
	char what[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	if (driver->error_name(result, &name) != KVG_SUCCESS || !name)
		name = "no error that it knows";
	if (driver->error_string(result, &text) != KVG_SUCCESS || !text)
		text = "CUDA has failed";
	return kvs_fault(meaning.error, "cannot %s: %s (%s, %d): %s", what, text, name, result, meaning.advice);
}
