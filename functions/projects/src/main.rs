fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<projects::Projects>(records::ALL)
}
