//! The boundary between Python and the kernels of faultplane: names, conversions and errors.
//!
//! A kernel is a safe function over slices in a module of its own; no panic of one reaches Python.

mod capsule;
mod classes;
mod column;
mod template;

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::{Array, ArrayRef};
use pyo3::exceptions::{PyOverflowError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::capsule::Import;
use crate::column::ColumnError;

const BUILD_PROFILE: &str = if cfg!(debug_assertions) {
    "debug"
} else {
    "release"
};

/// A column of templates, one for each row; null where the message was null.
#[pyclass(frozen, module = "faultplane_native")]
struct Templates(ArrayRef);

#[pymethods]
impl Templates {
    const FIELD: &'static str = "template";

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __repr__(&self) -> String {
        format!("<faultplane_native.Templates of {} rows>", self.0.len())
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        capsule::export_schema(py, &self.0, Self::FIELD)
    }

    /// The interface lets a producer ignore a schema that it is asked for.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        drop(requested_schema);
        capsule::export_array(py, &self.0, Self::FIELD)
    }
}

/// Return the templates of a column of messages (see `docs/templates.md`).
///
/// `column` has `__arrow_c_array__` or `__arrow_c_stream__` and is of type `utf8`, `large_utf8`
/// or `utf8_view`. The result is one array, `large_utf8` for `large_utf8`, else `utf8`. The GIL
/// is released meanwhile.
///
/// Raises `TypeError` for anything else, `ValueError` for an array that is not valid, and
/// `OverflowError` where `utf8` cannot hold the result (2,147,483,647 bytes).
#[pyfunction]
fn templates(py: Python<'_>, column: &Bound<'_, PyAny>) -> PyResult<Templates> {
    let import = Import::from_python(column)?;
    let array = detached(py, || {
        let (data_type, chunks) = import.read(column::check_strings)?;
        column::map_strings(&data_type, &chunks, template::template_into)
    })?;
    Ok(Templates(array))
}

/// Runs `work` without the GIL; its errors and panics become exceptions.
fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, ColumnError> + Send,
) -> PyResult<T> {
    match py.detach(|| catch_unwind(AssertUnwindSafe(work))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(exception(&error)),
        Err(_) => Err(PyRuntimeError::new_err(
            "a kernel failed: please report the column",
        )),
    }
}

fn exception(error: &ColumnError) -> PyErr {
    let text = error.to_string();
    match error {
        ColumnError::NotStrings(_) => PyTypeError::new_err(text),
        ColumnError::Broken(_) => PyValueError::new_err(text),
        ColumnError::TooLong { .. } => PyOverflowError::new_err(text),
    }
}

/// Batch kernels of faultplane over Arrow columns.
#[pymodule(gil_used = false)]
fn faultplane_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("BUILD_PROFILE", BUILD_PROFILE)?;
    module.add("MESSAGE_BYTES_MAX", template::MESSAGE_BYTES_MAX)?;
    module.add_class::<Templates>()?;
    module.add_function(wrap_pyfunction!(templates, module)?)
}
