fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<tenants::Tenants>(records::ALL)
}
