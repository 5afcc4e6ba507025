//! The Merkle tree of RFC 6962: one hash over many leaves, and for each leaf a short path of hashes by which anybody finds that hash again. What is hashed
//! for a leaf begins with another byte than what is hashed for a pair, so no pair passes for a leaf.

use shared::crypto::sha256;

pub type Hash = [u8; 32];

const LEAF: &[u8] = &[0];
const PAIR: &[u8] = &[1];

/// All hashes of a tree, from its leaves up to its root. A hash without a partner goes up as it is.
pub struct Tree {
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    pub fn of<'a>(leaves: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut levels = vec![leaves.into_iter().map(leaf).collect::<Vec<_>>()];
        while let Some(last) = levels.last().filter(|last| last.len() > 1) {
            let above = last.chunks(2).filter_map(|two| match two {
                [left, right] => Some(pair(left, right)),
                alone => alone.first().copied(),
            });
            let above = above.collect();
            levels.push(above);
        }
        Tree { levels }
    }

    /// Of no leaves: the hash of nothing.
    pub fn root(&self) -> Hash {
        self.levels.last().and_then(|top| top.first()).copied().unwrap_or_else(|| sha256(&[]))
    }

    /// The partners on the way from a leaf to the root.
    pub fn path(&self, index: usize) -> Vec<Hash> {
        let partner = |(height, level): (usize, &Vec<Hash>)| level.get((index >> height) ^ 1).copied();
        self.levels.iter().enumerate().filter_map(partner).collect()
    }
}

/// The root of the tree of `size` leaves that has this one at `index`, if that is its path. `None`: no such tree has a path of that length.
pub fn root_above(data: &[u8], index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    let (mut index, mut size, mut path, mut hash) = (index, size, path.iter(), leaf(data));
    if index >= size {
        return None;
    }
    while size > 1 {
        if index ^ 1 < size {
            let partner = path.next()?;
            hash = if index % 2 == 1 { pair(partner, &hash) } else { pair(&hash, partner) };
        }
        (index, size) = (index / 2, size.div_ceil(2));
    }
    path.next().is_none().then_some(hash)
}

fn leaf(data: &[u8]) -> Hash {
    sha256(&[LEAF, data])
}

fn pair(left: &Hash, right: &Hash) -> Hash {
    sha256(&[PAIR, left, right])
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    #[test]
    fn trees_are_those_of_the_rfc() {
        // The leaves and roots by which implementations of RFC 6962 are compared.
        let leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let leaves = leaves.map(|leaf| HEXLOWER.decode(leaf.as_bytes()).unwrap());
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (size, root) in roots.into_iter().enumerate() {
            assert_eq!(HEXLOWER.encode(&Tree::of(leaves[..size].iter().map(Vec::as_slice)).root()), root, "{size}");
        }
        // The path of its second leaf in the tree of eight.
        let path = Tree::of(leaves.iter().map(Vec::as_slice)).path(1);
        let expected = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ];
        assert_eq!(path.iter().map(|hash| HEXLOWER.encode(hash)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_path_leads_to_the_root_and_no_other_does() {
        for size in 1..=40_u64 {
            let leaves: Vec<String> = (0..size).map(|leaf| format!("leaf {leaf}")).collect();
            let tree = Tree::of(leaves.iter().map(String::as_bytes));
            for index in 0..size {
                let (data, path) = (leaves[index as usize].as_bytes(), tree.path(index as usize));
                let leads = |data: &[u8], index, size, path: &[Hash]| root_above(data, index, size, path) == Some(tree.root());
                assert!(leads(data, index, size, &path), "{index} of {size}");
                assert!(!leads(b"another leaf", index, size, &path));
                assert!(!leads(data, size, size, &path) && !leads(data, index + size, size, &path));
                assert!((0..size).all(|other| other == index || !leads(data, other, size, &path)), "{index} of {size}");
                let longer = [&path[..], &[tree.root()]].concat();
                assert!(!leads(data, index, size, &longer));
                for place in 0..path.len() {
                    let mut changed = path.clone();
                    changed[place][0] ^= 1;
                    let cut = [&path[..place], &path[place + 1..]].concat();
                    assert!(!leads(data, index, size, &changed) && !leads(data, index, size, &cut), "{index} of {size}");
                }
            }
        }
    }

    #[test]
    fn a_pair_passes_for_no_leaf() {
        let tree = Tree::of([&b"a"[..], b"b", b"c", b"d"]);
        let below: Vec<Hash> = vec![leaf(b"a"), leaf(b"b")];
        // The left half of the tree as one leaf of a tree of two.
        assert_ne!(root_above(&below.concat(), 0, 2, &tree.path(0)[1..]), Some(tree.root()));
    }
}
