fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<compliance::Compliance>(records::ALL)
}
