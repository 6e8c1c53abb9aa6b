package commands

import (
	"cmp"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError says what is wrong with a flag in the words of the command line: the
// parser's own tell of its insides.
func flagError(cmd *cobra.Command, err error) error {
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		if wanted := wantedOf(e.GetFlag().Value.Type()); wanted != "" {
			return usagef("argument %s: %.40q is not %s", flagName(e.GetFlag()), e.GetValue(), wanted).WithHint("%s", helpFor(cmd))
		}
	}
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		why := elsewhereFlag(cmd, e)
		if e.GetSpecifiedShortnames() != "" { // the parser repeats all of the word, which may end in a secret
			return usagef("unknown flag: -%s", e.GetSpecifiedName()).WithHint("%s", cmp.Or(why, helpFor(cmd)))
		}
		if why != "" {
			return usagef("%w", err).WithHint("%s", why)
		}
		if near := nearest("--"+e.GetSpecifiedName(), longFlags(cmd)); len(near) > 0 && len(near) <= mostSuggestions {
			return usagef("%w", err).WithHint("did you mean %s?", alternatives(near))
		}
	}
	return usagef("%w", err).WithHint("%s", helpFor(cmd))
}

// elsewhereFlag says what stands for a flag of Commander that the command does not have.
func elsewhereFlag(cmd *cobra.Command, e *pflag.NotExistError) string {
	name := "--" + e.GetSpecifiedName()
	if short := e.GetSpecifiedShortnames(); short != "" {
		name = "-" + short
	}
	return cmp.Or(elsewhere(pathOf(cmd), name), elsewhere("", name))
}

// wantedOf says what the values of a type of flag are; "" where the flag itself
// says it better.
func wantedOf(typ string) string {
	switch typ {
	case "int":
		return "a whole number"
	case "uint32":
		return "a whole number from 0 up"
	case "float64":
		return "a number"
	case "bool":
		return "true or false"
	case "duration":
		return "a length of time, like 90s, 15m or 1h30m"
	}
	return ""
}

func flagName(f *pflag.Flag) string {
	if f.Shorthand == "" {
		return "--" + f.Name
	}
	return "-" + f.Shorthand + "/--" + f.Name
}

// longFlags are the names of a command's flags, as they are typed.
func longFlags(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	return names
}
