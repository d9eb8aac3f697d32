/**
 * Facts of the PJRT C API, as our own table: the order of the function pointers in `PJRT_Api`, and per struct the order and
 * kind of its fields with the newest `struct_size` known. Nothing else in the project knows a name or an offset of that API.
 *
 * Source: the public interface of OpenXLA (`xla/pjrt/c/pjrt_c_api.h`) at 0.81 and 0.114. Within major version 0 functions and fields are only
 * ever appended, so one table serves every plugin from 0.81 on; `struct_size` says how far the caller's knowledge reaches. Past 400
 * lines because it is one table.
 */

export type FieldKind = 'pointer' | 'size' | 'int64' | 'int32' | 'bool' | 'float32';

export interface StructLayout<Field extends string = string> {
  /** `struct_size` at the newest version known: where the last field ends, which is not always sizeof (no tail padding). */
  readonly newestSize: number;
  readonly offsets: Readonly<Record<Field, number>>;
  readonly kinds: Readonly<Record<Field, FieldKind>>;
}

/** Oldest plugin version whose table was compared with this one. */
export const oldestMinorVersion = 81;
export const majorVersion = 0;

export const fieldBytes: Readonly<Record<FieldKind, number>> = {
  pointer: 8,
  size: 8,
  int64: 8,
  int32: 4,
  bool: 1,
  float32: 4,
};

/** Where `PJRT_Api` keeps what is read before any call: its own size, then the version, then the function pointers. */
export const apiOffsets = { structSize: 0, majorVersion: 32, minorVersion: 36, firstFunction: 40 } as const;

/** `PJRT_Api`'s function pointers in order, without the prefix `PJRT_`. Names up to the last one this project calls. */
export const apiFunctions = [
  'Error_Destroy',
  'Error_Message',
  'Error_GetCode',
  'Plugin_Initialize',
  'Plugin_Attributes',
  'Event_Destroy',
  'Event_IsReady',
  'Event_Error',
  'Event_Await',
  'Event_OnReady',
  'Client_Create',
  'Client_Destroy',
  'Client_PlatformName',
  'Client_ProcessIndex',
  'Client_PlatformVersion',
  'Client_Devices',
  'Client_AddressableDevices',
  'Client_LookupDevice',
  'Client_LookupAddressableDevice',
  'Client_AddressableMemories',
  'Client_Compile',
  'Client_DefaultDeviceAssignment',
  'Client_BufferFromHostBuffer',
  'DeviceDescription_Id',
  'DeviceDescription_ProcessIndex',
  'DeviceDescription_Attributes',
  'DeviceDescription_Kind',
  'DeviceDescription_DebugString',
  'DeviceDescription_ToString',
  'Device_GetDescription',
  'Device_IsAddressable',
  'Device_LocalHardwareId',
  'Device_AddressableMemories',
  'Device_DefaultMemory',
  'Device_MemoryStats',
  'Memory_Id',
  'Memory_Kind',
  'Memory_DebugString',
  'Memory_ToString',
  'Memory_AddressableByDevices',
  'Executable_Destroy',
  'Executable_Name',
  'Executable_NumReplicas',
  'Executable_NumPartitions',
  'Executable_NumOutputs',
  'Executable_SizeOfGeneratedCodeInBytes',
  'Executable_GetCostAnalysis',
  'Executable_OutputMemoryKinds',
  'Executable_OptimizedProgram',
  'Executable_Serialize',
  'LoadedExecutable_Destroy',
  'LoadedExecutable_GetExecutable',
  'LoadedExecutable_AddressableDevices',
  'LoadedExecutable_Delete',
  'LoadedExecutable_IsDeleted',
  'LoadedExecutable_Execute',
  'Executable_DeserializeAndLoad',
  'LoadedExecutable_Fingerprint',
  'Buffer_Destroy',
  'Buffer_ElementType',
  'Buffer_Dimensions',
  'Buffer_UnpaddedDimensions',
  'Buffer_DynamicDimensionIndices',
  'Buffer_GetMemoryLayout',
  'Buffer_OnDeviceSizeInBytes',
  'Buffer_Device',
  'Buffer_Memory',
  'Buffer_Delete',
  'Buffer_IsDeleted',
  'Buffer_CopyToDevice',
  'Buffer_ToHostBuffer',
  'Buffer_IsOnCpu',
  'Buffer_ReadyEvent',
  'Buffer_UnsafePointer',
  'Buffer_IncreaseExternalReferenceCount',
  'Buffer_DecreaseExternalReferenceCount',
  'Buffer_OpaqueDeviceMemoryDataPointer',
  'CopyToDeviceStream_Destroy',
  'CopyToDeviceStream_AddChunk',
  'CopyToDeviceStream_TotalBytes',
  'CopyToDeviceStream_GranuleSize',
  'CopyToDeviceStream_CurrentBytes',
  'TopologyDescription_Create',
  'TopologyDescription_Destroy',
  'TopologyDescription_PlatformName',
  'TopologyDescription_PlatformVersion',
  'TopologyDescription_GetDeviceDescriptions',
  'TopologyDescription_Serialize',
  'TopologyDescription_Attributes',
  'Compile',
  'Executable_OutputElementTypes',
  'Executable_OutputDimensions',
  'Buffer_CopyToMemory',
  'Client_CreateViewOfDeviceBuffer',
  'Executable_Fingerprint',
  'Client_TopologyDescription',
  'Executable_GetCompiledMemoryStats',
] as const;

export type ApiFunction = (typeof apiFunctions)[number];

/** By number, as absl::StatusCode has them. */
export const errorCodes = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
] as const;

export type PjrtErrorCode = (typeof errorCodes)[number];

/** `PJRT_Buffer_Type` of the element types that operators use. */
export const elementTypes = {
  pred: 1,
  int8: 2,
  int32: 4,
  int64: 5,
  uint8: 6,
  uint32: 8,
  float32: 11,
  float64: 12,
} as const;

/** `PJRT_HostBufferSemantics`. */
export const hostBufferSemantics = {
  /** The plugin copies before the call returns. */
  'during-call': 0,
  /** The host memory must neither move nor change until `done_with_host_buffer`. */
  'until-transferred': 1,
  /** The device buffer may be the host memory itself, for as long as the buffer lives; nobody writes to it. */
  'zero-copy': 2,
} as const;

/** `PJRT_NamedValue_Type`. */
export const namedValueTypes = { string: 0, int64: 1, int64List: 2, float32: 3, bool: 4 } as const;

/** Every struct starts with `struct_size` and a pointer to extensions, which this project leaves null. */
const firstFieldOffset = 16;

function layout<Field extends string>(
  newestSize: number,
  fields: Readonly<Record<Field, FieldKind>>,
): StructLayout<Field> {
  const offsets: Partial<Record<Field, number>> = {};
  let end = firstFieldOffset;
  for (const name of Object.keys(fields) as Field[]) {
    const bytes = fieldBytes[fields[name]];
    const offset = Math.ceil(end / bytes) * bytes; // C's natural alignment
    offsets[name] = offset;
    end = offset + bytes;
  }
  return { newestSize, offsets: offsets as Record<Field, number>, kinds: fields };
}

const p = 'pointer';
const n = 'size';

/** Argument structs by the function that takes them, and the other structs they point to. Fields marked "out" are written by the plugin. */
export const structs = {
  Error_Destroy: layout(24, { error: p }),
  Error_Message: layout(40, { error: p, message: p, messageSize: n }),
  Error_GetCode: layout(28, { error: p, code: 'int32' }),
  Plugin_Initialize: layout(16, {}),
  Plugin_Attributes: layout(32, { attributes: p, numAttributes: n }),
  Event_Destroy: layout(24, { event: p }),
  Event_IsReady: layout(25, { event: p, isReady: 'bool' }),
  Event_Error: layout(24, { event: p }),
  Event_Await: layout(24, { event: p }),
  Client_Create: layout(88, {
    createOptions: p,
    numOptions: n,
    kvGetCallback: p,
    kvGetUserArg: p,
    kvPutCallback: p,
    kvPutUserArg: p,
    client: p, // out
    kvTryGetCallback: p,
    kvTryGetUserArg: p,
  }),
  Client_Destroy: layout(24, { client: p }),
  Client_PlatformName: layout(40, { client: p, platformName: p, platformNameSize: n }),
  Client_PlatformVersion: layout(40, { client: p, platformVersion: p, platformVersionSize: n }),
  Client_AddressableDevices: layout(40, { client: p, devices: p, numDevices: n }),
  Client_Compile: layout(56, {
    client: p,
    program: p,
    compileOptions: p,
    compileOptionsSize: n,
    executable: p, // out
  }),
  Client_BufferFromHostBuffer: layout(120, {
    client: p,
    data: p,
    type: 'int32',
    dims: p,
    numDims: n,
    byteStrides: p,
    numByteStrides: n,
    hostBufferSemantics: 'int32',
    device: p,
    memory: p,
    deviceLayout: p,
    doneWithHostBuffer: p, // out
    buffer: p, // out
  }),
  DeviceDescription_Id: layout(28, { deviceDescription: p, id: 'int32' }),
  DeviceDescription_Attributes: layout(40, { deviceDescription: p, numAttributes: n, attributes: p }),
  DeviceDescription_Kind: layout(40, { deviceDescription: p, deviceKind: p, deviceKindSize: n }),
  DeviceDescription_ToString: layout(40, { deviceDescription: p, text: p, textSize: n }),
  Device_GetDescription: layout(32, { device: p, deviceDescription: p }),
  Device_LocalHardwareId: layout(28, { device: p, localHardwareId: 'int32' }),
  Device_DefaultMemory: layout(32, { device: p, memory: p }),
  Device_MemoryStats: layout(201, {
    device: p,
    bytesInUse: 'int64',
    peakBytesInUse: 'int64',
    peakBytesInUseIsSet: 'bool',
    numAllocs: 'int64',
    numAllocsIsSet: 'bool',
    largestAllocSize: 'int64',
    largestAllocSizeIsSet: 'bool',
    bytesLimit: 'int64',
    bytesLimitIsSet: 'bool',
    bytesReserved: 'int64',
    bytesReservedIsSet: 'bool',
    peakBytesReserved: 'int64',
    peakBytesReservedIsSet: 'bool',
    bytesReservableLimit: 'int64',
    bytesReservableLimitIsSet: 'bool',
    largestFreeBlockBytes: 'int64',
    largestFreeBlockBytesIsSet: 'bool',
    poolBytes: 'int64',
    poolBytesIsSet: 'bool',
    peakPoolBytes: 'int64',
    peakPoolBytesIsSet: 'bool',
    peakAllocatedBytes: 'int64',
    peakAllocatedBytesIsSet: 'bool',
  }),
  Memory_Kind: layout(40, { memory: p, kind: p, kindSize: n }),
  Executable_Destroy: layout(24, { executable: p }),
  Executable_NumOutputs: layout(32, { executable: p, numOutputs: n }),
  Executable_NumPartitions: layout(32, { executable: p, numPartitions: n }),
  Executable_SizeOfGeneratedCodeInBytes: layout(32, { executable: p, sizeInBytes: 'int64' }),
  Executable_Fingerprint: layout(40, { executable: p, fingerprint: p, fingerprintSize: n }),
  Executable_GetCostAnalysis: layout(40, { executable: p, numProperties: n, properties: p }),
  Executable_GetCompiledMemoryStats: layout(144, {
    executable: p,
    generatedCodeSizeInBytes: 'int64',
    argumentSizeInBytes: 'int64',
    outputSizeInBytes: 'int64',
    aliasSizeInBytes: 'int64',
    tempSizeInBytes: 'int64',
    hostGeneratedCodeSizeInBytes: 'int64',
    hostArgumentSizeInBytes: 'int64',
    hostOutputSizeInBytes: 'int64',
    hostAliasSizeInBytes: 'int64',
    hostTempSizeInBytes: 'int64',
    peakMemoryInBytes: 'int64',
    totalSizeInBytes: 'int64',
    totalAllocationBytes: 'int64',
    indefiniteAllocations: 'int64',
    peakUnpaddedHeapBytes: 'int64',
  }),
  Executable_OutputElementTypes: layout(40, { executable: p, outputTypes: p, numOutputTypes: n }),
  Executable_OutputDimensions: layout(48, { executable: p, numOutputs: n, dims: p, dimSizes: p }),
  Executable_Serialize: layout(56, {
    executable: p,
    serializedBytes: p,
    serializedBytesSize: n,
    serializedExecutable: p, // out: owns the bytes
    serializedExecutableDeleter: p, // out: frees it
  }),
  Executable_DeserializeAndLoad: layout(72, {
    client: p,
    serializedExecutable: p,
    serializedExecutableSize: n,
    loadedExecutable: p, // out
    overriddenCompileOptions: p,
    overriddenCompileOptionsSize: n,
    loadOptions: p,
  }),
  LoadedExecutable_Destroy: layout(24, { executable: p }),
  LoadedExecutable_GetExecutable: layout(32, { loadedExecutable: p, executable: p }),
  LoadedExecutable_AddressableDevices: layout(40, { executable: p, devices: p, numDevices: n }),
  LoadedExecutable_Execute: layout(80, {
    executable: p,
    options: p,
    argumentLists: p,
    numDevices: n,
    numArgs: n,
    outputLists: p, // the caller allocates, the plugin fills
    deviceCompleteEvents: p, // likewise
    executeDevice: p,
  }),
  Buffer_Destroy: layout(24, { buffer: p }),
  Buffer_ElementType: layout(28, { buffer: p, type: 'int32' }),
  Buffer_Dimensions: layout(40, { buffer: p, dims: p, numDims: n }),
  Buffer_OnDeviceSizeInBytes: layout(32, { buffer: p, onDeviceSizeInBytes: n }),
  Buffer_CopyToDevice: layout(40, { buffer: p, dstDevice: p, dstBuffer: p }),
  Buffer_ToHostBuffer: layout(56, { buffer: p, hostLayout: p, dst: p, dstSize: n, event: p }),
  Buffer_OpaqueDeviceMemoryDataPointer: layout(32, { buffer: p, deviceMemory: p }),
  Buffer_ReadyEvent: layout(32, { buffer: p, event: p }),
  TopologyDescription_Create: layout(56, {
    topologyName: p,
    topologyNameSize: n,
    createOptions: p,
    numOptions: n,
    topology: p, // out
  }),
  TopologyDescription_Destroy: layout(24, { topology: p }),
  TopologyDescription_PlatformName: layout(40, { topology: p, platformName: p, platformNameSize: n }),
  TopologyDescription_PlatformVersion: layout(40, { topology: p, platformVersion: p, platformVersionSize: n }),
  TopologyDescription_GetDeviceDescriptions: layout(40, { topology: p, descriptions: p, numDescriptions: n }),
  Compile: layout(64, {
    topology: p,
    program: p,
    compileOptions: p,
    compileOptionsSize: n,
    client: p,
    executable: p, // out
  }),
  Program: layout(48, { code: p, codeSize: n, format: p, formatSize: n }),
  ExecuteOptions: layout(144, {
    sendCallbacks: p,
    recvCallbacks: p,
    numSendOps: n,
    numRecvOps: n,
    launchId: 'int32',
    nonDonatableInputIndices: p,
    numNonDonatableInputIndices: n,
    context: p,
    callLocation: p,
    numTasks: n,
    taskIds: p,
    incarnationIds: p,
    multiSliceConfig: p,
    useMajorToMinorDataLayoutForCallbacks: 'bool',
    hloOutputCallbacks: p,
    numHloOutputCallbacks: n,
  }),
  /** The union's tiled member comes first: its own size and extensions, then the fields below. */
  MemoryLayout: layout(76, {
    tiledStructSize: n,
    tiledExtensions: p,
    minorToMajor: p,
    minorToMajorSize: n,
    tileDims: p,
    tileDimSizes: p,
    numTiles: n,
    type: 'int32', // 0: tiled
  }),
  /** An element of an array, so its size is a stride and takes no slack. The value is a union at one offset, here as the integer. */
  NamedValue: layout(56, { name: p, nameSize: n, type: 'int32', value: 'int64', valueSize: n }),
} as const;

export type StructName = keyof typeof structs;
/** Argument structs: those named after a function. */
export type CallName = StructName & ApiFunction;
export type FieldOf<Name extends StructName> = keyof (typeof structs)[Name]['offsets'] & string;
