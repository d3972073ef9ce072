package record

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Canonical returns the one text of what a declaration says of its collections,
// by which one declaration is told from another. The order of collections and
// the URIs of the databases are no part of it.
func (d Declaration) Canonical() string {
	collections := slices.Clone(d.Collections)
	slices.SortFunc(collections, func(a, b Collection) int { return strings.Compare(a.Name, b.Name) })
	text, err := json.Marshal(collections)
	if err != nil {
		panic(fmt.Sprintf("record: write a declaration: %v", err)) // it holds nothing that JSON lacks
	}
	return string(text)
}

// Difference says for people in what two canonical declarations differ: that of
// the database, and that of the process. It is empty if they are equal.
func Difference(held, given string) string {
	if held == given {
		return ""
	}
	var inDatabase, here []any
	if json.Unmarshal([]byte(held), &inDatabase) != nil || json.Unmarshal([]byte(given), &here) != nil {
		return "the database's declaration can't be read"
	}
	var found []string
	differ(&found, "", inDatabase, here)
	if len(found) == 0 {
		return "the declarations are written in another way"
	}
	return strings.Join(found, "; ")
}

// differ collects where two JSON values differ.
func differ(found *[]string, at string, held, given any) {
	switch held := held.(type) {
	case map[string]any:
		if given, ok := given.(map[string]any); ok {
			differObjects(found, at, held, given)
			return
		}
	case []any:
		if given, ok := given.([]any); ok && named(held) && named(given) {
			differNamed(found, at, held, given)
			return
		}
	}
	if a, b := show(held), show(given); a != b {
		*found = append(*found, fmt.Sprintf("%s is %s in the database and %s here", at, a, b))
	}
}

func differObjects(found *[]string, at string, held, given map[string]any) {
	keys := map[string]bool{}
	for key := range held {
		keys[key] = true
	}
	for key := range given {
		keys[key] = true
	}
	sorted := make([]string, 0, len(keys))
	for key := range keys {
		sorted = append(sorted, key)
	}
	slices.Sort(sorted)
	for _, key := range sorted {
		differ(found, join(at, key), held[key], given[key])
	}
}

// differNamed compares lists of collections or of fields by their names; their
// order counts only if they have the same.
func differNamed(found *[]string, at string, held, given []any) {
	before, after := names(held), names(given)
	for n, name := range before {
		other := slices.Index(after, name)
		if other < 0 {
			*found = append(*found, fmt.Sprintf("%s is in the database's declaration and not here", join(at, name)))
			continue
		}
		differ(found, join(at, name), held[n], given[other])
	}
	for _, name := range after {
		if !slices.Contains(before, name) {
			*found = append(*found, fmt.Sprintf("%s is here and not in the database's declaration", join(at, name)))
		}
	}
	if len(*found) == 0 && !slices.Equal(before, after) {
		*found = append(*found, fmt.Sprintf("%s are in another order: %s in the database, %s here", at, strings.Join(before, ", "), strings.Join(after, ", ")))
	}
}

// named reports whether each element of a list is an object with a name.
func named(list []any) bool { return len(list) > 0 && len(names(list)) == len(list) }

func names(list []any) []string {
	var all []string
	for _, element := range list {
		object, _ := element.(map[string]any)
		if name, ok := object["name"].(string); ok {
			all = append(all, name)
		}
	}
	return all
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

func show(v any) string {
	if v == nil {
		return "unset"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return shorten(string(b))
}
