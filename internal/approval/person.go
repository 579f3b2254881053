package approval

// Person is who did something, as it is kept.
type Person struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

func (p Person) String() string {
	if p.Name != "" {
		return p.Name
	}
	return p.ID
}
