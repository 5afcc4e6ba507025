fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<contacts::Contacts>(records::ALL)
}
