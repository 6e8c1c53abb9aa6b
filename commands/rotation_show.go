package commands

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/pkg/password"
)

const (
	onDemandLabel = "[Manual Rotation]"
	defaultRules  = "[not set]"
)

func rulesText(complexity string) (string, error) {
	if complexity == "" {
		return defaultRules, nil
	}
	rules, err := password.ParseRules(complexity)
	return rules.String(), err
}

// A rotationDocument is a user's rotation settings in JSON.
type rotationDocument struct {
	UID         pam.UID        `json:"record_uid"`
	Title       string         `json:"record_title"`
	Type        pam.RecordType `json:"record_type"`
	Enabled     bool           `json:"enabled"`
	Schedule    string         `json:"schedule_type"` // "manual"
	Resource    pam.UID        `json:"resource_uid"`
	ConfigUID   pam.UID        `json:"pam_config_uid"`
	ConfigName  string         `json:"pam_config"`
	GatewayName string         `json:"gateway_name,omitempty"`
	Complexity  string         `json:"password_complexity"`
	Policy      policyDocument `json:"policy"`
}

func rotationRow(user pam.Head, s pam.RotationSettings, config, gateway string) rotationDocument {
	return rotationDocument{
		UID: user.UID, Title: user.Title, Type: user.Type, Enabled: s.Enabled, Schedule: "manual",
		Resource: s.Resource, ConfigUID: s.Configuration, ConfigName: config, GatewayName: gateway, Complexity: s.Complexity,
		Policy: policyOf(s.Policy),
	}
}

func newRotationList(d *Deps) *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"l"},
		Short:   "List Record Rotation configurations",
		Long:    "List the users whose password can be rotated.",
		Example: "  keyturn pam rotation list\n  keyturn pam rotation list -v --format json",
		Args:    positional(), Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show UIDs of gateways and configurations too")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		rows, err := c.rotations(ctx)
		if err != nil {
			return output.View{}, err
		}
		return rotationListView(rows, verbose), nil
	})
}

// A rotationEntry is a user's settings with the names of what they refer to.
type rotationEntry struct {
	user     pam.Head
	settings pam.RotationSettings
	config   pam.Configuration
	gateway  pam.Gateway
}

func (c *call) rotations(ctx context.Context) ([]rotationEntry, error) {
	all, err := c.vault.Rotations(ctx)
	if err != nil {
		return nil, err
	}
	heads, err := c.vault.Heads(ctx)
	if err != nil {
		return nil, err
	}
	var entries []rotationEntry
	for _, s := range all {
		e := rotationEntry{settings: s}
		for _, h := range heads {
			if h.UID == s.User {
				e.user = h
			}
		}
		if e.config, e.gateway, err = c.bindings(ctx, s.Configuration); err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	sortBy(entries, func(e rotationEntry) string { return sortKey(e.user) })
	return entries, nil
}

// bindings returns a configuration and its gateway; zero where there is none.
func (c *call) bindings(ctx context.Context, uid pam.UID) (cfg pam.Configuration, g pam.Gateway, err error) {
	configs, err := c.vault.Configurations(ctx)
	if err != nil {
		return cfg, g, err
	}
	for _, one := range configs {
		if one.UID == uid {
			cfg = one
		}
	}
	gateways, err := c.vault.Gateways(ctx)
	for _, one := range gateways {
		if one.UID == cfg.Gateway {
			g = one
		}
	}
	return cfg, g, err
}

//nolint:revive // verbose is the flag of the command line
func rotationListView(rows []rotationEntry, verbose bool) output.View {
	t := output.Table{
		Header: []string{"Record UID", "Record Title", "Record Type", "Schedule", "Gateway"},
		Prose:  []string{"Schedule", "PAM Configuration (Type)"},
	}
	if verbose {
		t.Header = append(t.Header, "Gateway UID")
	}
	t.Header = append(t.Header, "PAM Configuration (Type)")
	if verbose {
		t.Header = append(t.Header, "PAM Configuration UID")
	}
	docs := []rotationDocument{}
	for _, e := range rows {
		row := []string{string(e.user.UID), e.user.Title, string(e.user.Type), onDemandLabel, e.gateway.Name}
		if verbose {
			row = append(row, string(e.gateway.UID))
		}
		row = append(row, e.config.Title+" ("+e.config.Environment+")")
		if verbose {
			row = append(row, string(e.config.UID))
		}
		t.Rows = append(t.Rows, row)
		docs = append(docs, rotationRow(e.user, e.settings, e.config.Title, e.gateway.Name))
	}
	return output.View{
		Tables: []output.Table{t},
		After: []string{
			"", "Example to rotate record to which this user has access to:", "  pam action rotate -r [RECORD UID]",
		},
		Document: map[string]any{"rotations": docs},
	}
}

func newRotationInfo(d *Deps) *cobra.Command {
	var record string
	cmd := &cobra.Command{
		Use:     "info",
		Aliases: []string{"i"},
		Short:   "Get Rotation Info",
		Long:    "Show how a user's password is rotated, and whether it is ready to be.",
		Example: "  keyturn pam rotation info -r svc_app",
		Args:    positional(), Annotations: notes(annotNeeds, needVault, annotRequired, "record-uid"),
	}
	cmd.Flags().StringVarP(&record, "record-uid", "r", "", "the PAM User: `UID`, title or path")
	completeFlag(cmd, "record-uid", d.records(pam.TypeUser))
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		user, err := c.findUser(ctx, record)
		if err != nil {
			return output.View{}, err
		}
		s, ok, err := c.vault.Rotation(ctx, user.UID)
		if err != nil {
			return output.View{}, err
		}
		if !ok {
			return output.View{}, pam.Errorf(pam.ErrInvalidInput,
				"The user record does not have any rotation settings. Record: %s", titled(user.Title, user.UID)).
				WithHint("keyturn pam rotation edit -r %s -rs MACHINE --force", user.UID)
		}
		cfg, g, err := c.bindings(ctx, s.Configuration)
		if err != nil {
			return output.View{}, err
		}
		return rotationInfoView(rotationEntry{user, s, cfg, g})
	})
}

type rotationInfo struct {
	Status      string  `json:"status"`
	Ready       bool    `json:"ready_to_rotate"`
	ConfigUID   pam.UID `json:"pam_config_uid"`
	GatewayName string  `json:"gateway_name"`
	GatewayUID  pam.UID `json:"gateway_uid"`
	ResourceUID pam.UID `json:"admin_resource_uid"`
	Complexity  string  `json:"password_complexity"`
	Detail      any     `json:"password_complexity_detail"`
	Schedule    string  `json:"schedule_type"`
	Disabled    bool    `json:"disabled"`
	// Keys of the reference that are always the same here: a schedule is not
	// there yet, nodes and scripts are the cloud's.
	NodeID      string `json:"node_id"`
	ScheduleOf  []any  `json:"schedule_data"`
	UsesDefault bool   `json:"use_default_rotation_schedule"`
	ScriptName  string `json:"script_name"`

	Policy policyDocument `json:"policy"`
}

type complexityDetail struct {
	Length    int    `json:"length"`
	Lowercase int    `json:"lowercase"`
	Uppercase int    `json:"uppercase"`
	Digits    int    `json:"digits"`
	Symbols   int    `json:"symbols"`
	Specials  string `json:"symbol_chars"`
}

func rotationInfoView(e rotationEntry) (output.View, error) {
	info := rotationInfo{
		Status: "RRS_ONLINE", Ready: e.settings.Enabled, ConfigUID: e.config.UID, GatewayName: e.gateway.Name,
		GatewayUID: e.gateway.UID, ResourceUID: e.settings.Resource, Complexity: e.settings.Complexity,
		Schedule: "manual", Disabled: !e.settings.Enabled, ScheduleOf: []any{}, Policy: policyOf(e.settings.Policy),
	}
	status := "Ready to rotate (RRS_ONLINE)"
	if !e.settings.Enabled {
		info.Status, status = "RRS_DISABLED", "Rotation is disabled (RRS_DISABLED)"
	}
	lines := []string{
		"Rotation Status: " + status,
		"PAM Config UID: " + string(info.ConfigUID),
		"Gateway Name where the rotation will be performed: " + info.GatewayName,
		"Gateway Uid: " + string(info.GatewayUID),
		"Admin Resource Uid: " + string(info.ResourceUID),
	}
	if e.settings.Complexity == "" {
		lines = append(lines, "Password Complexity: "+defaultRules)
	} else {
		r, err := password.ParseRules(e.settings.Complexity)
		if err != nil {
			return output.View{}, err
		}
		detail := complexityDetail{r.Length, r.Lower, r.Upper, r.Digits, r.Symbols, r.Specials}
		info.Detail = detail
		lines = append(lines, "Password Complexity: "+r.String(),
			fmt.Sprintf("Password Complexity Data: Length: %d; Lowercase: %d; Uppercase: %d; Digits: %d; Symbols: %d; Symbols Chars: %s",
				r.Length, r.Lower, r.Upper, r.Digits, r.Symbols, strings.TrimSpace(r.Specials)))
	}
	lines = append(lines,
		fmt.Sprintf("Is Rotation Disabled: %t", info.Disabled),
		"Schedule Type: Manual Rotation")
	lines = append(lines, policyLines(e.settings.Policy)...)
	lines = append(lines,
		"Command to manually rotate: pam action rotate -r "+string(e.user.UID))
	return output.View{Before: lines, Document: info, CSV: pairsTable(lines)}, nil
}

// pairsTable is the CSV of "label: value" lines.
func pairsTable(lines []string) *output.Table {
	t := &output.Table{Header: []string{"name", "value"}}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		t.Rows = append(t.Rows, []string{name, value})
	}
	return t
}
