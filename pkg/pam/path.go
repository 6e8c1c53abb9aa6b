package pam

import "strings"

// A folder's path has its names from the root on, "/Prod/DB". A slash within a name
// is written twice, as in Commander: "/Web//Mail" is one folder, "Web/Mail". No name
// begins or ends with a slash, so that a path is read in one way only.

// JoinPath writes names as a path without the slash of the root.
func JoinPath(names []string) string {
	escaped := make([]string, len(names))
	for i, n := range names {
		escaped[i] = EscapeName(n)
	}
	return strings.Join(escaped, "/")
}

// EscapeName writes a folder's name as it stands in a path.
func EscapeName(name string) string { return strings.ReplaceAll(name, "/", "//") }

// SplitPath returns the names in a path, of which none is empty.
func SplitPath(path string) []string {
	var names []string
	for path != "" {
		var name string
		path, name = CutPath(strings.TrimRight(path, "/"))
		if name != "" {
			names = append([]string{name}, names...)
		}
	}
	return names
}

// CutPath cuts a path at its last separator: dir is what stands before it, with the
// separator, and "" where there is none.
func CutPath(path string) (dir, name string) {
	for end := len(path); ; {
		at := strings.LastIndexByte(path[:end], '/')
		if at < 0 {
			return "", strings.ReplaceAll(path, "//", "/")
		}
		first := at
		for first > 0 && path[first-1] == '/' {
			first--
		}
		within := first > 0 && at+1 < len(path) && (at+1-first)%2 == 0
		if !within {
			return path[:at+1], strings.ReplaceAll(path[at+1:], "//", "/")
		}
		end = first
	}
}
