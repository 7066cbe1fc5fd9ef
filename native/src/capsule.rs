//! Arrow data from and to Python: the `PyCapsule` interface over the Arrow C data interface.
//!
//! The only file with `unsafe`. What a capsule holds is believed: whoever made it can hand out
//! pointers to anything. Offsets and views inside the buffers are checked by `column`.

use std::ffi::CStr;
use std::ptr::NonNull;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{Array, ArrayRef, make_array};
use arrow_schema::{ArrowError, DataType, Field};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyCapsuleMethods, PyTuple};

const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";
const STREAM: &CStr = c"arrow_array_stream";

/// What a Python object that exports Arrow data handed over.
pub(crate) enum Import {
    Array(FFI_ArrowArray, DataType),
    Stream(FFI_ArrowArrayStream),
}

impl Import {
    /// Takes the data that `object` exports: one array where it can, else a stream of them.
    pub(crate) fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if object.hasattr("__arrow_c_array__")? {
            let pair = object.call_method0("__arrow_c_array__")?;
            let (schema, array): (Bound<'_, PyCapsule>, Bound<'_, PyCapsule>) = pair.extract()?;
            let data_type = data_type(&schema)?;
            let array = pointer::<FFI_ArrowArray>(&array, ARRAY)?;
            // SAFETY: a capsule of this name points to an ArrowArray that its consumer may move
            // out; from_raw leaves a released one behind, which the capsule does not free again.
            let array = unsafe { FFI_ArrowArray::from_raw(array.as_ptr()) };
            if array.is_released() {
                return Err(PyValueError::new_err("the Arrow array was consumed before"));
            }
            return Ok(Self::Array(array, data_type));
        }
        if object.hasattr("__arrow_c_stream__")? {
            let stream = object.call_method0("__arrow_c_stream__")?;
            let stream = pointer::<FFI_ArrowArrayStream>(stream.cast()?, STREAM)?;
            // SAFETY: as for the array above, with an ArrowArrayStream.
            let stream = unsafe { FFI_ArrowArrayStream::from_raw(stream.as_ptr()) };
            if stream.release().is_none() {
                return Err(PyValueError::new_err(
                    "the Arrow stream was consumed before",
                ));
            }
            return Ok(Self::Stream(stream));
        }
        Err(PyTypeError::new_err(format!(
            "column must have __arrow_c_array__ or __arrow_c_stream__, got {}",
            object.get_type().name()?
        )))
    }

    /// Reads all chunks, if `accept` accepts their type. Needs no Python.
    pub(crate) fn read<E: From<ArrowError>>(
        self,
        accept: impl Fn(&DataType) -> Result<(), E>,
    ) -> Result<(DataType, Vec<ArrayRef>), E> {
        match self {
            Self::Array(array, data_type) => {
                accept(&data_type)?;
                let chunk = import(array, &data_type)?;
                Ok((data_type, vec![chunk]))
            }
            Self::Stream(mut stream) => {
                let data_type = stream_type(&mut stream)?;
                accept(&data_type)?;
                let mut chunks = Vec::new();
                while let Some(array) = stream_next(&mut stream)? {
                    chunks.push(import(array, &data_type)?);
                }
                Ok((data_type, chunks))
            }
        }
    }
}

/// Exports the type of `array` under the name `name`.
pub(crate) fn export_schema<'py>(
    py: Python<'py>,
    array: &dyn Array,
    name: &str,
) -> PyResult<Bound<'py, PyCapsule>> {
    let field = Field::new(name, array.data_type().clone(), true);
    let schema = FFI_ArrowSchema::try_from(&field)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    PyCapsule::new_with_value(py, schema, SCHEMA)
}

/// Exports `array` under the name `name`; its buffers are shared, not copied.
pub(crate) fn export_array<'py>(
    py: Python<'py>,
    array: &dyn Array,
    name: &str,
) -> PyResult<Bound<'py, PyTuple>> {
    let schema = export_schema(py, array, name)?;
    let array = PyCapsule::new_with_value(py, FFI_ArrowArray::new(&array.to_data()), ARRAY)?;
    PyTuple::new(py, [schema, array])
}

fn pointer<T>(capsule: &Bound<'_, PyCapsule>, name: &CStr) -> PyResult<NonNull<T>> {
    Ok(capsule.pointer_checked(Some(name))?.cast())
}

fn data_type(capsule: &Bound<'_, PyCapsule>) -> PyResult<DataType> {
    let schema = pointer::<FFI_ArrowSchema>(capsule, SCHEMA)?;
    // SAFETY: a capsule of this name points to an ArrowSchema, alive while the capsule is.
    DataType::try_from(unsafe { schema.as_ref() })
        .map_err(|error| PyTypeError::new_err(error.to_string()))
}

fn import(array: FFI_ArrowArray, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    // SAFETY: the producer promises an array of this type; nothing could check its pointers.
    let data = unsafe { from_ffi_and_data_type(array, data_type.clone()) }?;
    Ok(make_array(data))
}

fn stream_type(stream: &mut FFI_ArrowArrayStream) -> Result<DataType, ArrowError> {
    let mut schema = FFI_ArrowSchema::empty();
    let get_schema = stream.get_schema().ok_or_else(incomplete)?;
    // SAFETY: the stream is not released, and calls come from one thread at a time.
    match unsafe { get_schema(stream, &raw mut schema) } {
        0 => DataType::try_from(&schema),
        code => Err(stream_error(stream, code)),
    }
}

fn stream_next(stream: &mut FFI_ArrowArrayStream) -> Result<Option<FFI_ArrowArray>, ArrowError> {
    let mut array = FFI_ArrowArray::empty();
    let get_next = stream.get_next().ok_or_else(incomplete)?;
    // SAFETY: as in stream_type.
    match unsafe { get_next(stream, &raw mut array) } {
        0 if array.is_released() => Ok(None),
        0 => Ok(Some(array)),
        code => Err(stream_error(stream, code)),
    }
}

fn incomplete() -> ArrowError {
    ArrowError::CDataInterface("the Arrow stream lacks a callback".to_owned())
}

fn stream_error(stream: &mut FFI_ArrowArrayStream, code: i32) -> ArrowError {
    let text = stream.get_last_error().and_then(|get_last_error| {
        // SAFETY: as in stream_type; asked right after the call that failed.
        let text = NonNull::new(unsafe { get_last_error(stream) }.cast_mut())?;
        // SAFETY: the text is null-terminated and stays until the next call on the stream.
        Some(
            unsafe { CStr::from_ptr(text.as_ptr()) }
                .to_string_lossy()
                .into_owned(),
        )
    });
    let text = text.unwrap_or_else(|| "no reason given".to_owned());
    ArrowError::CDataInterface(format!("the Arrow stream failed with errno {code}: {text}"))
}
