package ctl

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show gracectl's version",
		Example: example("gracectl version", "gracectl version -o json"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			version, commit := s.version()
			platform := runtime.GOOS + "/" + runtime.GOARCH
			if s.structured() {
				return s.print(object{{"version", version}, {"commit", commit}, {"go", runtime.Version()}, {"platform", platform}})
			}
			if commit != "" {
				version += " (" + commit + ")"
			}
			s.say("gracectl %s %s %s", version, runtime.Version(), platform)
			return nil
		},
	}
}

// version is what the build was given, else what Go recorded in it.
func (s *session) version() (version, commit string) {
	version = s.stdio.Version
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, ""
	}
	if version == "" {
		version = info.Main.Version
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			commit = setting.Value
		}
	}
	return version, commit
}
