//! Tensors of the runtime: over memory that a caller owns, and those that the runtime hands out.
#![allow(unsafe_code, reason = "the runtime's tensors are made from and read through raw pointers")]

use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};

use ::ort::sys::{self, ONNXTensorElementDataType as Type};
use ::ort::{AsPointer, Error, api, memory::MemoryInfo};

use crate::engine::{Slice, SliceMut, View, ViewMut};
use crate::tensor::{DType, Element, Tensor, Values, checked_count};

/// A value of the runtime. One made over borrowed memory must not be used after the borrow: its makers drop it, or
/// hand it to the runtime again only together with a borrow of the very same memory.
pub(super) struct Value(NonNull<sys::OrtValue>);

// SAFETY: a value may be used by any thread, one at a time; `Value` is not `Sync`.
unsafe impl Send for Value {}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the runtime and is released once.
        unsafe { (api().ReleaseValue)(self.0.as_ptr()) };
    }
}

/// Turns the runtime's status into a message.
pub(super) fn check(status: sys::OrtStatusPtr) -> Result<(), String> {
    // SAFETY: every status given here was just returned by the runtime, and is consumed once.
    unsafe { Error::result_from_status(status) }.map_err(|error| error.to_string())
}

/// The names of the execution providers that the loaded library was built with.
pub(super) fn execution_providers() -> Result<Vec<String>, String> {
    let (mut names, mut count) = (ptr::null_mut(), 0);
    // SAFETY: the out pointers are writable.
    check(unsafe { (api().GetAvailableProviders)(&raw mut names, &raw mut count) })?;
    let texts = (0..usize::try_from(count).unwrap_or(0)).map(|index| {
        // SAFETY: the array has `count` texts, each ending in a null byte, until its release below.
        unsafe { CStr::from_ptr(*names.add(index)) }.to_string_lossy().into_owned()
    });
    let texts = texts.collect();
    // SAFETY: the array came from the runtime with this count, and is released once.
    check(unsafe { (api().ReleaseAvailableProviders)(names, count) })?;
    Ok(texts)
}

const fn element_type(dtype: DType) -> Type {
    match dtype {
        DType::F32 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        DType::F64 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        DType::F16 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        DType::BF16 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        DType::I8 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        DType::I16 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        DType::I32 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        DType::I64 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        DType::U8 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        DType::U16 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        DType::U32 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        DType::U64 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        DType::Bool => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        DType::String => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
    }
}

/// The memory that ordinary host tensors lie in.
pub(super) struct Host {
    info: MemoryInfo<'static>,
    dims: Vec<i64>,
}

impl Host {
    pub(super) fn new() -> Result<Self, String> {
        use ::ort::memory::{AllocationDevice, AllocatorType, MemoryType};
        let info = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default)
            .map_err(|error| error.to_string())?;
        Ok(Self { info, dims: Vec::new() })
    }

    /// A value over the view's memory, or over a copy of strings.
    pub(super) fn input(&mut self, view: View<'_>) -> Result<Value, String> {
        match view.values() {
            Slice::String(strings) => self.strings(view.dims(), strings),
            values => {
                let (data, size) = values.raw();
                // The runtime does not write to inputs.
                self.over(view.dtype(), view.dims(), data.cast_mut(), size)
            }
        }
    }

    /// A value over the view's memory, that a run writes to; nothing for strings, which have to be copied.
    pub(super) fn output(&mut self, view: &mut ViewMut<'_>) -> Result<Option<Value>, String> {
        let (dtype, dims) = (view.dtype(), view.dims());
        if dtype == DType::String {
            return Ok(None);
        }
        let (data, size) = view.values_mut().raw();
        self.over(dtype, dims, data, size).map(Some)
    }

    fn set_dims(&mut self, dims: &[usize]) {
        self.dims.clear();
        self.dims.extend(dims.iter().map(|&dim| dim as i64));
    }

    fn over(&mut self, dtype: DType, dims: &[usize], data: *mut u8, size: usize) -> Result<Value, String> {
        self.set_dims(dims);
        let mut value = ptr::null_mut();
        // SAFETY: `data` has `size` bytes, which a view guarantees to be those of `dims` and `dtype`; the value
        // does not own them.
        check(unsafe {
            (api().CreateTensorWithDataAsOrtValue)(
                self.info.ptr(),
                data.cast::<c_void>(),
                size,
                self.dims.as_ptr(),
                self.dims.len(),
                element_type(dtype),
                &raw mut value,
            )
        })?;
        NonNull::new(value).map(Value).ok_or_else(|| "it made no tensor".to_owned())
    }

    fn strings(&mut self, dims: &[usize], strings: &[String]) -> Result<Value, String> {
        self.set_dims(dims);
        let texts: Vec<CString> = strings
            .iter()
            .map(|text| CString::new(text.as_str()))
            .collect::<Result<_, _>>()
            .map_err(|_| "a string holds a null character".to_owned())?;
        let pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        let (mut allocator, mut value) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the out pointer is writable; the default allocator lives as long as the library.
        check(unsafe { (api().GetAllocatorWithDefaultOptions)(&raw mut allocator) })?;
        // SAFETY: `allocator` is the runtime's own, the dimensions are given with their number.
        check(unsafe {
            (api().CreateTensorAsOrtValue)(
                allocator,
                self.dims.as_ptr(),
                self.dims.len(),
                element_type(DType::String),
                &raw mut value,
            )
        })?;
        let value = NonNull::new(value).map(Value).ok_or_else(|| "it made no tensor".to_owned())?;
        // SAFETY: as many texts as the tensor has elements, each ending in a null byte; the runtime copies them.
        check(unsafe { (api().FillStringTensor)(value.0.as_ptr(), pointers.as_ptr(), pointers.len()) })?;
        Ok(value)
    }
}

impl Value {
    /// Takes over what a run returned; nothing for null.
    ///
    /// # Safety
    /// `pointer` is null or a value of the runtime that nobody else releases.
    pub(super) unsafe fn from_run(pointer: *mut sys::OrtValue) -> Option<Self> {
        NonNull::new(pointer).map(Self)
    }

    pub(super) fn as_ptr(&self) -> *mut sys::OrtValue {
        self.0.as_ptr()
    }

    /// The element type and the dimensions.
    fn shape(&self) -> Result<(DType, Vec<usize>), String> {
        let mut is_tensor = 0;
        // SAFETY: the value is live and the out pointer writable; the same for the calls below.
        check(unsafe { (api().IsTensor)(self.as_ptr(), &raw mut is_tensor) })?;
        if is_tensor == 0 {
            return Err("it is no tensor".to_owned());
        }
        let mut info = ptr::null_mut();
        // SAFETY: as above; `info` is released below.
        check(unsafe { (api().GetTensorTypeAndShape)(self.as_ptr(), &raw mut info) })?;
        let mut dtype = Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        let mut rank = 0;
        let mut dims = Vec::new();
        // SAFETY: `info` is live until its release, which happens on every way out.
        let result = unsafe {
            let result = check((api().GetTensorElementType)(info, &raw mut dtype))
                .and_then(|()| check((api().GetDimensionsCount)(info, &raw mut rank)))
                .and_then(|()| {
                    dims = vec![0_i64; rank];
                    check((api().GetDimensions)(info, dims.as_mut_ptr(), rank))
                });
            (api().ReleaseTensorTypeAndShapeInfo)(info);
            result
        };
        result?;
        let dtype =
            DType::from_onnx(dtype as i32).ok_or_else(|| format!("element type {dtype:?} is unknown"))?;
        let dims = dims.into_iter().map(usize::try_from).collect::<Result<_, _>>();
        Ok((dtype, dims.map_err(|_| "it has a negative dimension".to_owned())?))
    }

    fn data<T: Copy>(&self, count: usize) -> Result<Vec<T>, String> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut data = ptr::null_mut();
        // SAFETY: the value is a live tensor in host memory.
        check(unsafe { (api().GetTensorMutableData)(self.as_ptr(), &raw mut data) })?;
        if data.is_null() {
            return Err("it has no data".to_owned());
        }
        let mut values = Vec::<T>::with_capacity(count);
        // SAFETY: the tensor holds `count` elements of a type of the size of `T`, for which every bit pattern is
        // valid (booleans are read as bytes); the vector has room for them.
        unsafe {
            ptr::copy_nonoverlapping(
                data.cast::<u8>(),
                values.as_mut_ptr().cast::<u8>(),
                count * size_of::<T>(),
            );
            values.set_len(count);
        }
        Ok(values)
    }

    fn read_strings(&self, count: usize) -> Result<Vec<String>, String> {
        (0..count)
            .map(|index| {
                let mut length = 0;
                // SAFETY: the value is a live tensor of strings with more than `index` elements.
                check(unsafe {
                    (api().GetStringTensorElementLength)(self.as_ptr(), index, &raw mut length)
                })?;
                let mut text = vec![0_u8; length];
                // SAFETY: as above, and the buffer has the length that the runtime asked for.
                check(unsafe {
                    (api().GetStringTensorElement)(self.as_ptr(), length, index, text.as_mut_ptr().cast())
                })?;
                String::from_utf8(text).map_err(|_| "a string is not UTF-8".to_owned())
            })
            .collect()
    }

    /// A copy in a tensor of our own.
    pub(super) fn to_tensor(&self) -> Result<Tensor, String> {
        let (dtype, dims) = self.shape()?;
        let count = checked_count(&dims).ok_or_else(|| "it is too large".to_owned())?;
        let values = match dtype {
            DType::F32 => self.wrap::<f32>(count)?,
            DType::F64 => self.wrap::<f64>(count)?,
            DType::F16 => self.wrap::<half::f16>(count)?,
            DType::BF16 => self.wrap::<half::bf16>(count)?,
            DType::I8 => self.wrap::<i8>(count)?,
            DType::I16 => self.wrap::<i16>(count)?,
            DType::I32 => self.wrap::<i32>(count)?,
            DType::I64 => self.wrap::<i64>(count)?,
            DType::U8 => self.wrap::<u8>(count)?,
            DType::U16 => self.wrap::<u16>(count)?,
            DType::U32 => self.wrap::<u32>(count)?,
            DType::U64 => self.wrap::<u64>(count)?,
            DType::Bool => Values::Bool(self.data::<u8>(count)?.into_iter().map(|byte| byte != 0).collect()),
            DType::String => Values::String(self.read_strings(count)?),
        };
        Tensor::new(dims, values).map_err(|error| error.to_string())
    }

    fn wrap<T: Element + Copy>(&self, count: usize) -> Result<Values, String> {
        self.data::<T>(count).map(T::wrap)
    }
}

/// Makes every boolean that a run wrote one that Rust knows: the runtime promises zero and one, but a kernel that
/// wrote another byte must not break more than its own output.
pub(super) fn settle(view: &mut ViewMut<'_>) {
    if let SliceMut::Bool(values) = view.values_mut() {
        let (data, count) = (values.as_mut_ptr().cast::<u8>(), values.len());
        for index in 0..count {
            // SAFETY: within the slice; bytes are read and written as bytes, volatile so that what a boolean may
            // be is not assumed.
            unsafe {
                let byte = data.add(index);
                byte.write_volatile(u8::from(byte.read_volatile() != 0));
            }
        }
    }
}
