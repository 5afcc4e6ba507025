fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<links::Links>(records::ALL)
}
