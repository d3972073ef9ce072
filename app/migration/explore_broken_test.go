package migration

// variant is the shipped code with one rule switched off.
type variant struct {
	name  string
	apply func(s *scene, o oldStore, n newStore) (oldStore, newStore)
}
