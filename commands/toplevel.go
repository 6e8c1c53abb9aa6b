package commands

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// A topCommand is a command right below the root, which is made when a line needs it.
type topCommand struct {
	names string // its name and its aliases
	grow  func(*Deps) *cobra.Command
}

// topCommands are the commands below the root, but for help.
func topCommands() []topCommand {
	return []topCommand{
		{"init", newInit},
		{"login unlock", newUnlock},
		{"logout lock", newLock},
		{"passwd", newPasswd},
		{"key", newKey},
		{"rekey", newRekey},
		{"vault", newVault},
		{"audit", newAudit},
		{"whoami", newWhoami},
		{"sync-down d", newSyncDown},
		{"version v", newVersion},
		{"generate gen", newGenerate},
		{"ls", newLs},
		{"cd", newCd},
		{"tree", newTree},
		{"mkdir", newMkdir},
		{"rmdir", newRmdir},
		{"rndir", newRndir},
		{"rm", newRm},
		{"mv", newMv},
		{"search s", newSearch},
		{"list l", newList},
		{"get g", newGet},
		{"clipboard-copy cc", newClipboardCopy},
		{"find-password", newFindPassword},
		{"totp", newTotp},
		{"set", newSet},
		{"echo", newEcho},
		{"history h", newHistory},
		{"clear c cls", newClear},
		{"record-add ra", newRecordAdd},
		{"record-update ru", newRecordUpdate},
		{"record-history rh", newRecordHistory},
		{"record-type-info rti", newRecordTypeInfo},
		{"trash", newTrash},
		{"import", newImport},
		{"export", newExport},
		{"pam", newPam},
		{"run-batch run", newRunBatch},
		{"shell", newShell},
		{"completion", newCompletion},
		{"job-runner", newJobRunner},
		{"agent-runner", newAgentRunner},
	}
}

// topCommandOf returns the names of the command below the root that a line is about; "" when it needs
// the whole tree, because it names none.
func topCommandOf(root *cobra.Command, args []string) string {
	at := afterGlobals(root, args)
	if at == len(args) {
		return ""
	}
	for _, b := range topCommands() {
		if slices.Contains(strings.Fields(b.names), strings.ToLower(args[at])) {
			return b.names
		}
	}
	return ""
}

// Known reports whether a line can begin with a word: a command, a flag or what leaves
// the shell.
func Known(word string) bool {
	word = strings.ToLower(word)
	return strings.HasPrefix(word, "-") || word == "help" || Quits([]string{word}) ||
		slices.ContainsFunc(topCommands(), func(b topCommand) bool { return slices.Contains(strings.Fields(b.names), word) })
}
