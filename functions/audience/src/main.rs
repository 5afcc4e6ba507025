fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<audience::Audience>(records::ALL)
}
