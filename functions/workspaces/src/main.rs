fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<workspaces::Workspaces>(records::ALL)
}
