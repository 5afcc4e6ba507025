fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<templates::Templates>(records::ALL)
}
