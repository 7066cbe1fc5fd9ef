//! String columns: the rows of an Arrow array as byte slices, and the array of the results.

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::ByteArrayType;
use arrow_array::{
    Array, ArrayRef, GenericByteArray, GenericStringArray, OffsetSizeTrait, StringViewArray,
};
use arrow_buffer::{ArrowNativeType, Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};

/// Why a column could not be read or its result not be built.
#[derive(Debug)]
pub(crate) enum ColumnError {
    /// The column is not one of strings.
    NotStrings(DataType),
    /// The array contradicts itself or is not UTF-8.
    Broken(ArrowError),
    /// The result has more bytes than its offsets can count.
    TooLong { limit: usize },
}

impl fmt::Display for ColumnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStrings(got) => {
                write!(f, "column must be utf8, large_utf8 or utf8_view, got {got}")
            }
            Self::Broken(why) => write!(f, "column is not a valid Arrow array: {why}"),
            Self::TooLong { limit } => write!(
                f,
                "the result must be at most {limit} bytes, got more: \
                 pass the column in parts or as large_utf8"
            ),
        }
    }
}

impl std::error::Error for ColumnError {}

impl From<ArrowError> for ColumnError {
    fn from(error: ArrowError) -> Self {
        Self::Broken(error)
    }
}

/// Refuses what is not a string column.
pub(crate) fn check_strings(data_type: &DataType) -> Result<(), ColumnError> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(()),
        other => Err(ColumnError::NotStrings(other.clone())),
    }
}

/// Applies `kernel` to each row of `chunks`; null rows stay null.
///
/// The result is one `large_utf8` array for a `large_utf8` column, else one `utf8` array.
pub(crate) fn map_strings(
    data_type: &DataType,
    chunks: &[ArrayRef],
    kernel: impl Fn(&[u8], &mut Vec<u8>),
) -> Result<ArrayRef, ColumnError> {
    check_strings(data_type)?;
    if *data_type == DataType::LargeUtf8 {
        map_to::<i64>(chunks, kernel)
    } else {
        map_to::<i32>(chunks, kernel)
    }
}

fn map_to<O: OffsetSizeTrait>(
    chunks: &[ArrayRef],
    kernel: impl Fn(&[u8], &mut Vec<u8>),
) -> Result<ArrayRef, ColumnError> {
    let rows = chunks.iter().map(Array::len).sum();
    let mut column = Column::<O>::with_capacity(rows);
    for chunk in chunks {
        match chunk.data_type() {
            DataType::Utf8 => column.append(chunk, &Offsets(chunk.as_string::<i32>()), &kernel)?,
            DataType::LargeUtf8 => {
                column.append(chunk, &Offsets(chunk.as_string::<i64>()), &kernel)?;
            }
            DataType::Utf8View => column.append(chunk, &Views(chunk.as_string_view()), &kernel)?,
            other => return Err(ColumnError::NotStrings(other.clone())),
        }
    }
    column.finish()
}

/// The bytes of one row, without trust in the offsets of an array that another library made.
trait Rows {
    fn row(&self, index: usize) -> Option<&[u8]>;
}

struct Offsets<'a, T: ByteArrayType>(&'a GenericByteArray<T>);

impl<T: ByteArrayType> Rows for Offsets<'_, T> {
    fn row(&self, index: usize) -> Option<&[u8]> {
        let offsets = self.0.value_offsets();
        let start = offsets.get(index)?.to_usize()?;
        let end = offsets.get(index + 1)?.to_usize()?;
        self.0.value_data().get(start..end)
    }
}

struct Views<'a>(&'a StringViewArray);

impl Rows for Views<'_> {
    fn row(&self, index: usize) -> Option<&[u8]> {
        const INLINE_BYTES_MAX: usize = 12;
        // A view is its length, then the bytes or: four of them, the buffer, the offset.
        let view: &[u8] = self.0.views().inner().get(index * 16..index * 16 + 16)?;
        let word = |at: usize| {
            let bytes = view.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(i32::from_le_bytes(bytes)).ok()
        };
        let length = word(0)?;
        if length <= INLINE_BYTES_MAX {
            return view.get(4..4 + length);
        }
        let offset = word(12)?;
        self.0
            .data_buffers()
            .get(word(8)?)?
            .get(offset..offset + length)
    }
}

/// A string array that grows row by row.
struct Column<O> {
    offsets: Vec<O>,
    values: Vec<u8>,
    nulls: NullBufferBuilder,
}

impl<O: OffsetSizeTrait> Column<O> {
    fn with_capacity(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(O::default());
        Self {
            offsets,
            values: Vec::new(),
            nulls: NullBufferBuilder::new(rows),
        }
    }

    fn append(
        &mut self,
        chunk: &dyn Array,
        rows: &impl Rows,
        kernel: impl Fn(&[u8], &mut Vec<u8>),
    ) -> Result<(), ColumnError> {
        let nulls = chunk.nulls();
        for index in 0..chunk.len() {
            let valid = nulls.is_none_or(|nulls| nulls.is_valid(index));
            if valid {
                let row = rows.row(index).ok_or_else(|| {
                    ArrowError::InvalidArgumentError(format!(
                        "row {index} lies outside its buffers"
                    ))
                })?;
                kernel(row, &mut self.values);
            }
            self.nulls.append(valid);
            let end = O::from_usize(self.values.len()).ok_or(ColumnError::TooLong {
                limit: O::MAX_OFFSET,
            })?;
            self.offsets.push(end);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<ArrayRef, ColumnError> {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        let values = Buffer::from_vec(self.values);
        let array = GenericStringArray::<O>::try_new(offsets, values, self.nulls.finish())?;
        Ok(Arc::new(array))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::{
        Array, ArrayRef, Int32Array, LargeStringArray, StringArray, StringViewArray,
    };
    use arrow_schema::DataType;

    use super::{ColumnError, map_strings};

    fn shout(row: &[u8], out: &mut Vec<u8>) {
        out.extend(row.iter().map(u8::to_ascii_uppercase));
        out.push(b'!');
    }

    fn rows() -> Vec<Option<&'static str>> {
        vec![
            Some(""),
            None,
            Some("short"),
            Some("longer than twelve bytes"),
            Some("é"),
        ]
    }

    fn expected() -> Vec<Option<&'static str>> {
        vec![
            Some("!"),
            None,
            Some("SHORT!"),
            Some("LONGER THAN TWELVE BYTES!"),
            Some("é!"),
        ]
    }

    #[test]
    fn every_string_layout_gives_the_same_rows() {
        let arrays: [ArrayRef; 3] = [
            Arc::new(StringArray::from(rows())),
            Arc::new(LargeStringArray::from(rows())),
            Arc::new(StringViewArray::from(rows())),
        ];
        for array in arrays {
            let data_type = array.data_type().clone();
            let result = map_strings(&data_type, &[array], shout).unwrap();
            let got: Vec<_> = match result.data_type() {
                DataType::LargeUtf8 => result.as_string::<i64>().iter().collect(),
                _ => result.as_string::<i32>().iter().collect(),
            };
            assert_eq!(got, expected());
            assert_eq!(
                *result.data_type() == DataType::LargeUtf8,
                data_type == DataType::LargeUtf8
            );
        }
    }

    #[test]
    fn slices_and_chunks_keep_their_order() {
        let array: ArrayRef = Arc::new(StringArray::from(rows()));
        let chunks = [array.slice(3, 2), array.slice(0, 0), array.slice(0, 3)];
        let result = map_strings(&DataType::Utf8, &chunks, shout).unwrap();
        let mut wanted = expected()[3..].to_vec();
        wanted.extend(&expected()[..3]);
        assert_eq!(result.as_string::<i32>().iter().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_column_of_numbers_is_refused() {
        let array: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let error = map_strings(&DataType::Int32, &[array], shout).unwrap_err();
        assert!(matches!(error, ColumnError::NotStrings(DataType::Int32)));
        assert_eq!(
            error.to_string(),
            "column must be utf8, large_utf8 or utf8_view, got Int32"
        );
    }

    #[test]
    fn a_result_that_is_not_utf_8_is_refused() {
        let array: ArrayRef = Arc::new(StringArray::from(vec!["é"]));
        let half = |row: &[u8], out: &mut Vec<u8>| out.extend(&row[..1]);
        let error = map_strings(&DataType::Utf8, &[array], half).unwrap_err();
        assert!(matches!(error, ColumnError::Broken(_)));
    }
}
