//! The workspace of this run, and the data directory with its lock.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

/// The nearest parent directory with the template and the workspace manifest.
pub fn find() -> Result<PathBuf, String> {
    let here = std::env::current_dir().map_err(|error| format!("the current directory is not known: {error}"))?;
    here.ancestors()
        .find(|directory| directory.join("template.yaml").is_file() && directory.join("Cargo.toml").is_file())
        .map(Path::to_owned)
        .ok_or_else(|| "run it inside the workspace: no template.yaml here or above".to_owned())
}

/// Held while the process lives, however it ends.
pub struct DataLock {
    _file: File,
}

/// Creates the directory, hides it from git and the file watcher, and locks it for this process.
pub fn claim(directory: &Path) -> Result<DataLock, String> {
    let unusable = |error: std::io::Error| format!("the data directory {} cannot be used: {error}", directory.display());
    std::fs::create_dir_all(directory).map_err(unusable)?;
    let ignore = directory.join(".gitignore");
    if !ignore.exists() {
        std::fs::write(&ignore, "*\n").map_err(unusable)?;
    }
    let file = File::options().create(true).truncate(false).write(true).open(directory.join("lock")).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(DataLock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(format!(
            "the data directory {} is in use by another `cargo local`: stop that one, or choose another with --data or --memory",
            directory.display()
        )),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_has_one_owner_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let lock = claim(&data).unwrap();
        let refused = claim(&data).err().unwrap();
        assert!(refused.contains("is in use by another `cargo local`"), "{refused}");
        drop(lock);
        claim(&data).unwrap();
        assert_eq!(std::fs::read_to_string(data.join(".gitignore")).unwrap(), "*\n");
    }
}
