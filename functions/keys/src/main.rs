fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<keys::Keys>(records::ALL)
}
