package commands

import (
	"slices"
	"strings"

	"keyturn/pkg/pam"
)

// warnUnknownLabel says of a field that became a custom one because the record
// type does not define its label which label may have been meant: nothing would
// read it, and that shows much later. A custom field that says so (c.) is meant.
func (d *Deps) warnUnknownLabel(s recordSchema, a Assignment, f pam.Field) {
	read := func(own fieldSpec) bool {
		return strings.EqualFold(own.Type, f.Type) && strings.EqualFold(own.Label, f.Label)
	}
	defined := slices.ContainsFunc(s.Fields, func(own fieldSpec) bool { return own.Type == f.Type && own.Label != "" })
	if a.Where != WhereAny || !f.Custom || f.Label == "" || a.Value == "" || !defined || slices.ContainsFunc(s.Read, read) {
		return
	}
	d.sayf("warning: %s has no field %s: it is kept as a custom field, which nothing reads", s.Type, a.Name())
	if near := s.near(f); near != "" {
		d.sayf("hint: did you mean %s=VALUE? c.%s=VALUE says that a custom field is meant; %s= removes it", near, a.Name(), a.Name())
		return
	}
	d.sayf("hint: it has %s; c.%s=VALUE says that a custom field is meant", s.list(), a.Name())
}

// near is the field of the type whose label is nearest to that of f, as it is
// written on a command line; "" when none is near.
func (s recordSchema) near(f pam.Field) string {
	written := map[string]string{}
	var labels []string
	offer := func(own fieldSpec, prefix string) {
		if own.Type == f.Type && own.Label != "" {
			written[own.Label] = prefix + own.String()
			labels = append(labels, own.Label)
		}
	}
	for _, own := range s.Fields {
		offer(own, "")
	}
	for _, own := range s.Read {
		offer(own, string(WhereCustom)+".")
	}
	near := nearest(f.Label, labels)
	if len(near) == 0 {
		return ""
	}
	return written[near[0]]
}
