package postgres

// tokens says whether pseudonyms can be made: there is a key, and texts are bytes of UTF-8, so that making them
// never fails.
func (t *target) tokens() bool {
	t.catalogs.state.RLock()
	defer t.catalogs.state.RUnlock()
	return t.tokenKey != nil && t.catalogs.facts != nil && t.catalogs.facts.ServerEncoding == "UTF8"
}
