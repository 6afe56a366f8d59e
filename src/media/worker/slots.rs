//! Storage by small index with generations, so that a stale reference finds nothing.

/// Values by index; indexes of removed values are given out again.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Slots<T> {
    /// Stores what `make` builds from its own index and generation.
    pub(super) fn insert(&mut self, make: impl FnOnce(u32, u32) -> T) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                value: None,
            });
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 transports fit in memory")
        });
        let slot = &mut self.slots[index as usize];
        slot.value = Some(make(index, slot.generation));
        self.len += 1;
        index
    }

    /// The value at `index`.
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize)?.value.as_ref()
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.value.as_mut()
    }

    /// The value at `index`, if it is still the one of `generation`.
    pub(super) fn get_generation_mut(&mut self, index: u32, generation: u32) -> Option<&mut T> {
        let slot = self.slots.get_mut(index as usize)?;
        if slot.generation == generation {
            slot.value.as_mut()
        } else {
            None
        }
    }

    /// Takes the value at `index` out.
    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        self.len -= 1;
        Some(value)
    }

    /// The values and where they are.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let slots = (0..).zip(&self.slots);
        slots.filter_map(|(index, slot)| Some((index, slot.value.as_ref()?)))
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_generation_finds_nothing() {
        let mut slots = Slots::default();
        let index = slots.insert(|_, generation| (generation, 'a'));
        assert_eq!(slots.remove(index), Some((0, 'a')));
        let again = slots.insert(|_, generation| (generation, 'b'));
        assert_eq!(again, index);
        assert_eq!(slots.get_generation_mut(index, 0), None);
        assert_eq!(slots.get_generation_mut(index, 1), Some(&mut (1, 'b')));
        assert_eq!(slots.len(), 1);
    }
}
