package exchange

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"

	"keyturn/pkg/pam"
)

// WriteProject writes a project with sorted keys, so that the same project is the
// same file. It is plain text. version is the program's own, for who reads it.
func WriteProject(w io.Writer, p Project, version string) error {
	resources, users := []any{}, []any{}
	lists := map[int][]any{}
	for i, r := range slices.Backward(p.Records) { // users stand after their resource
		if err := textual(r.Record); err != nil {
			return fault(r.Entry, "", "%w", err)
		}
		doc := projectDocument(r)
		if nested := lists[i]; len(nested) > 0 {
			slices.Reverse(nested)
			doc["users"] = nested
		}
		switch {
		case r.Resource:
			resources = append(resources, doc)
		case r.Parent >= 0:
			lists[r.Parent] = append(lists[r.Parent], doc)
		default:
			users = append(users, doc)
		}
	}
	slices.Reverse(resources)
	slices.Reverse(users)
	configuration := texts{"title": p.Configuration.Title, "environment": p.Configuration.Environment, "rotation": "on"}
	configuration.add("gateway_name", p.Configuration.Gateway)
	configuration.add("dom_administrative_credential", p.Configuration.Admin)
	if p.Configuration.Off {
		configuration["rotation"] = "off"
	}
	var b bytes.Buffer
	defer func() { clear(b.Bytes()) }()
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(map[string]any{
		"project": p.Name, "pam_configuration": configuration, "tool": "Keyturn", "tool_version": version,
		"pam_data": map[string]any{"resources": resources, "users": users},
	})
	if err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// texts are members of an object that is written.
type texts map[string]any

func (t texts) add(name, text string) {
	if text != "" {
		t[name] = text
	}
}

func projectDocument(r ProjectRecord) texts {
	doc := texts{"type": string(r.Record.Type), "title": r.Record.Title}
	doc.add("uid", string(r.Record.UID))
	doc.add("notes", r.Record.Notes)
	doc.add("folder_path", pam.JoinPath(r.Folder))
	if r.Disabled {
		doc["disabled"] = true
	}
	if r.Admin != "" {
		doc["pam_settings"] = texts{"connection": texts{"administrative_credentials": r.Admin}}
	}
	if r.Rotation != nil {
		doc["rotation_settings"] = rotationDocument(*r.Rotation)
	}
	var services []any
	for _, s := range r.Services {
		services = append(services, texts{"user": s.User, "types": s.Kinds.Types()})
	}
	if services != nil {
		doc["services"] = services
	}
	addFields(doc, r.Record.Fields)
	return doc
}

func rotationDocument(r ProjectRotation) texts {
	doc := texts{"rotation": "general", "enabled": r.Enabled, "schedule": texts{"type": "on-demand"}}
	doc.add("resource", r.Resource)
	doc.add("password_complexity", r.Complexity)
	if r.Policy != (pam.Policy{}) {
		doc["policy"] = r.Policy
	}
	return doc
}

// addFields writes fields where the file has a place for them, the rest as
// custom fields.
func addFields(doc texts, fields []pam.Field) {
	names := map[string]string{} // by type and label
	for name, f := range projectFields() {
		names[fieldName(f)] = name
	}
	var rest []pam.Field
	for _, f := range fields {
		if hosted(doc, f) {
			continue
		}
		values := fieldValues(f)
		name, known := names[fieldName(f)]
		_, taken := doc[name]
		switch {
		case known && !taken && plain(f) && len(values) == 1 && values[0] != "":
			doc[name] = values[0]
		case len(values) > 0:
			rest = append(rest, f)
		}
	}
	custom := texts{}
	for _, m := range customObject(rest) {
		custom[m.name] = m.value
	}
	if len(custom) > 0 {
		doc["custom_fields"] = custom
	}
}

// plain reports whether a field has only texts.
func plain(f pam.Field) bool { return !f.JSON && len(f.Parts) == 0 }

// hosted writes the first host as Commander does, if it is nothing but that.
func hosted(doc texts, f pam.Field) bool {
	host, port := f.Parts["hostName"], f.Parts["port"]
	parts := 0
	for _, name := range []string{"hostName", "port"} {
		if _, ok := f.Parts[name]; ok {
			parts++
		}
	}
	_, host1 := doc["host"]
	_, port1 := doc["port"]
	if f.Type != "pamHostname" || f.Label != "" || host+port == "" || parts != len(f.Parts) || len(f.Bare) > 0 || host1 || port1 {
		return false
	}
	doc.add("host", host)
	doc.add("port", port)
	return true
}
