# What check.sh checks: what is expected, the model, a name, and how many of each process run. Sourced by it.

# The old mechanism: the faults that were there.
check convertedUnderAccess inflight-before 'late fault, interrupt, two conversions' -DACCESSES=1 -DFAULTS=1 -DTO_PRIVATE=2 -DINTERRUPTS=1
check punchedUnderAccess inflight-before 'late fault, memory failure, punch' -DACCESSES=1 -DFAULTS=1 -DFAILURES=1 -DPUNCHES=1 -DINTERRUPTS=1
check punchedUnderAccess inflight-before 'unbind, punch' -DVCPUS=1 -DUNBINDS=1 -DPUNCHES=1
check convertedUnderAccess inflight-before 'interrupted invalidation, conversion' -DVCPUS=1 -DTO_PRIVATE=2 -DINTERRUPTS=1
check convertedUnderAccess inflight-before 'the same, with kept references' -DKEEP -DVCPUS=1 -DTO_PRIVATE=2 -DINTERRUPTS=1
check punchedUnderAccess inflight-before 'munmap waits, punch' -DACCESSES=1 -DMUNMAPS=1 -DPUNCHES=1
check convertedUnderAccess inflight-before 'munmap waits, conversion, pin-check' -DPIN_CHECK -DACCESSES=1 -DMUNMAPS=1 -DTO_PRIVATE=1

# The new mechanism, in the same situations.
check sound inflight 'fault, interrupt, two conversions' -DACCESSES=1 -DFAULTS=1 -DTO_PRIVATE=2 -DINTERRUPTS=1
check sound inflight 'fault, memory failure, punch' -DACCESSES=1 -DFAULTS=1 -DFAILURES=1 -DPUNCHES=1 -DINTERRUPTS=1
check sound inflight 'unbind, punch' -DVCPUS=1 -DVCPU_FAULTS=1 -DUNBINDS=1 -DPUNCHES=1 -DINTERRUPTS=1
check sound inflight 'interrupted invalidation, conversions' -DVCPUS=1 -DTO_PRIVATE=1 -DTO_SHARED=1 -DVCPU_FAULTS=1 -DINTERRUPTS=1
check sound inflight 'the same, with kept references' -DKEEP -DVCPUS=1 -DTO_PRIVATE=2 -DINTERRUPTS=1
check sound inflight 'munmap, punch' -DACCESSES=1 -DFAULTS=1 -DMUNMAPS=1 -DPUNCHES=1 -DINTERRUPTS=1
check sound inflight 'munmap, conversion, pin-check' -DPIN_CHECK -DACCESSES=1 -DMUNMAPS=1 -DTO_PRIVATE=1 -DINTERRUPTS=1

# The new mechanism, broken.
check enteredWrongPage inflight 'TWIN_NO_SECOND_LOOK' -DTWIN_NO_SECOND_LOOK -DACCESSES=1 -DTO_PRIVATE=1
check convertedUnderAccess inflight 'TWIN_ANNOUNCES_LATE' -DTWIN_ANNOUNCES_LATE -DACCESSES=1 -DTO_PRIVATE=1
check punchedUnderAccess inflight 'TWIN_LOOKS_BEFORE_REVOKING' -DTWIN_LOOKS_BEFORE_REVOKING -DACCESSES=1 -DPUNCHES=1
check punchedUnderAccess inflight 'TWIN_REMOVER_DOES_NOT_WAIT' -DTWIN_REMOVER_DOES_NOT_WAIT -DACCESSES=1 -DPUNCHES=1
check unmappedUnderAccess inflight 'TWIN_FAULT_REMOVES_ANY' -DTWIN_FAULT_REMOVES_ANY -DACCESSES=1 -DFAULTS=1 -DMUNMAPS=1 -DFAILURES=1 -DINTERRUPTS=1
