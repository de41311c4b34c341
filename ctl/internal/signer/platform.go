package signer

import (
	"debug/elf"
	"fmt"
)

// machines are Go's names of what ELF files are for.
var machines = map[elf.Machine]string{
	elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_386: "386", elf.EM_ARM: "arm",
	elf.EM_RISCV: "riscv64", elf.EM_PPC64: "ppc64le", elf.EM_S390: "s390x", elf.EM_LOONGARCH: "loong64",
}

// PlatformOf is what an executable runs on, such as linux/amd64. What is no
// executable of Linux, such as a script or an archive, does not say.
func PlatformOf(path string) (string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("%s does not say on what it runs: say so with --platform, such as linux/amd64", path)
	}
	defer f.Close()
	arch := machines[f.Machine]
	if arch == "" {
		return "", fmt.Errorf("%s is for %s: name that with --platform as Go does", path, f.Machine)
	}
	return "linux/" + arch, nil
}
