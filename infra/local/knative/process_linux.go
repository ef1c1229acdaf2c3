package knative

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// childAttributes puts a child into a process group of its own, so that an
// interrupt at the terminal reaches the runner only, which then ends the
// children in order; and lets the kernel end it should the runner be killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Resident is the memory that a process holds, in bytes, or 0 if it has ended.
func Resident(pid int) int64 {
	statm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(statm)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
