//! Pages into files.

use std::path::Path;
use std::{fs, io};

use super::Page;

pub(super) fn write(folder: &Path, pages: &[Page]) -> io::Result<()> {
    for page in pages {
        fs::write(folder.join(&page.name), &page.text)?;
    }
    Ok(())
}
