package commands

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/vault"
)

type completer = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// completeFlag declares how a flag's value is completed. It fails only for a
// flag that does not exist, which is a programmer's mistake.
func completeFlag(cmd *cobra.Command, flag string, f completer) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err)
	}
}

func fixed(words ...string) completer {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

func nothing(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeNothing keeps shells from offering files behind a command without arguments.
func completeNothing(cmd *cobra.Command) {
	if cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 && !strings.Contains(cmd.Use, " ") {
		cmd.ValidArgsFunction = nothing
	}
}

// fromVault completes with what list finds in the vault. A locked vault, or any
// failure, completes nothing: completion asks no questions and prints no errors.
func (d *Deps) fromVault(list func(ctx context.Context, v *vault.Vault, begun string) ([]string, error)) completer {
	return func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		v, err := d.Vault(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		words, err := list(cmd.Context(), v, begun)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// completion is "text<TAB>description", both on one clean line.
func completion(text, description string) string {
	return output.Clean(text) + "\t" + output.Clean(description)
}

// records completes titles, UIDs and, where one was begun, paths of records of the
// given types, or of all.
func (d *Deps) records(types ...pam.RecordType) completer {
	return d.fromVault(func(ctx context.Context, v *vault.Vault, begun string) ([]string, error) {
		heads, err := v.Heads(ctx)
		if err != nil {
			return nil, err
		}
		folders, err := v.Folders(ctx)
		paths := pathsOf(folders)
		var titles, uids, places []string
		for _, h := range heads {
			if len(types) > 0 && !slices.Contains(types, h.Type) {
				continue
			}
			caption := strings.TrimSpace(string(h.Type) + " " + h.Summary)
			titles = append(titles, completion(h.Title, caption))
			uids = append(uids, completion(string(h.UID), h.Title))
			path := near(paths[h.Folder], paths[d.Session.Folder], begun) + h.Title
			if begun != "" && strings.Contains(path, "/") && strings.HasPrefix(path, begun) {
				places = append(places, completion(path, caption))
			}
		}
		return slices.Concat(titles, places, uids), err
	})
}

// near is how a folder's path begins the path of what is in it, from the folder here
// unless the root was begun with; "" where the folder is not below that.
func near(path, here, begun string) string {
	path, here = strings.TrimSuffix(path, "/")+"/", strings.TrimSuffix(here, "/")+"/"
	if strings.HasPrefix(begun, "/") {
		return path
	}
	rest, below := strings.CutPrefix(path, here)
	if !below || strings.HasPrefix(rest, "/") {
		return ""
	}
	return rest
}

func (d *Deps) gateways() completer {
	return d.fromVault(func(ctx context.Context, v *vault.Vault, _ string) ([]string, error) {
		gateways, err := v.Gateways(ctx)
		var words []string
		for _, g := range gateways {
			words = append(words, completion(g.Name, "gateway"), completion(string(g.UID), g.Name))
		}
		return words, err
	})
}

func (d *Deps) configurations() completer {
	return d.fromVault(func(ctx context.Context, v *vault.Vault, _ string) ([]string, error) {
		configs, err := v.Configurations(ctx)
		var words []string
		for _, c := range configs {
			words = append(words, completion(c.Title, "configuration"), completion(string(c.UID), c.Title))
		}
		return words, err
	})
}

// jobs completes job ids; with open, of those only that are not at their end.
func (d *Deps) jobs(which func(pam.Job) bool) completer {
	return d.fromVault(func(ctx context.Context, v *vault.Vault, _ string) ([]string, error) {
		jobs, err := v.Jobs(ctx)
		var words []string
		for _, j := range jobs {
			if which(j) {
				words = append(words, completion(string(j.ID), string(j.State)+" "+j.UserTitle))
			}
		}
		return words, err
	})
}

// discoveries completes ids of discovery jobs.
func (d *Deps) discoveries() completer {
	return d.fromVault(func(ctx context.Context, v *vault.Vault, _ string) ([]string, error) {
		all, err := v.Discoveries(ctx)
		var words []string
		for _, job := range all {
			words = append(words, completion(string(job.ID), string(job.State)+" "+job.Scope))
		}
		return words, err
	})
}

func anyJob(pam.Job) bool { return true }

func (d *Deps) folders() completer {
	return d.fromVault(func(ctx context.Context, v *vault.Vault, _ string) ([]string, error) {
		folders, err := v.Folders(ctx)
		if err != nil {
			return nil, err
		}
		here, err := v.FolderPath(ctx, d.Session.Folder)
		if err != nil {
			return nil, err
		}
		below := strings.TrimSuffix(here, "/") + "/"
		var words []string
		for _, f := range folders {
			path, err := v.FolderPath(ctx, f.UID)
			if err != nil {
				return words, err
			}
			words = append(words, completion(path, string(f.UID)))
			if near, ok := strings.CutPrefix(path, below); ok && near != "" && near[0] != '/' {
				words = append(words, completion(near, string(f.UID)))
			}
		}
		return words, nil
	})
}

// first completes the first argument only.
func first(f completer) completer {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nothing(cmd, args, toComplete)
		}
		return f(cmd, args, toComplete)
	}
}

func sortBy[T any, K cmp.Ordered](list []T, key func(T) K) {
	slices.SortStableFunc(list, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
}

// plainUsages takes the marks out of what a tree says of its flags: help replaces them, and
// completion shows them.
func plainUsages(cmd *cobra.Command) {
	plain := func(f *pflag.Flag) { _, f.Usage = pflag.UnquoteUsage(f) }
	cmd.PersistentFlags().VisitAll(plain)
	cmd.Flags().VisitAll(plain)
	for _, c := range cmd.Commands() {
		plainUsages(c)
	}
}

// GlobalFlags are the flags that every command has, as they are typed.
func GlobalFlags(d *Deps) []string {
	var names []string
	bareRoot(d).PersistentFlags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return names
}
