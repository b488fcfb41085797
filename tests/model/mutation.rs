//! One deliberate mistake for each rule of the protocol, and for the places that have no number.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// R1: the object is live before its creator has counted itself.
    LiveBeforeCount,
    /// R2: any grant to this session is claimed, not only the one of the reply.
    ClaimsAnyGrant,
    /// R3: the creator writes its bytes before it claims.
    FillsBeforeClaim,
    /// R4: the last of the hinted rows is not read.
    SkipsHintedRow,
    /// R5: dead first, then the lane.
    DeadBeforeLane,
    /// R6: dead from any value without pins.
    DeadWithoutEpoch,
    /// R7: the bytes are cleared before the slot is dead.
    ClearsBeforeDead,
    /// R7: the broker frees a dead slot that nobody has returned yet.
    FreesUnreturned,
    /// R8: the ticket is live before its pin.
    TicketBeforePin,
    /// R9: a taker leaves the hint alone.
    NoHint,
    /// R9: a taker counts itself before it sets the hint.
    HintAfterCount,
    /// R10: a taker counts itself after its look at `refs`.
    CountAfterLook,
    /// R11: a taker believes that the object is live.
    LivenessIgnored,
    /// R11: a taker believes that the slot still has its object.
    GenerationIgnored,
    /// R11: the generation is read before `refs`.
    GenerationFirst,
    /// R12: a taker leaves the epoch as it is.
    TakerKeepsEpoch,
    /// R12: the broker leaves the epoch as it is when it removes a reference.
    RemoverKeepsEpoch,
    /// R12: the broker uses no lane for its own work on references.
    BrokerUnannounced,
    /// R13: a redeemer gives the pin back before it takes the last use.
    UnpinBeforeClaim,
    /// R13: the broker gives the pin back before it clears the name.
    UnpinBeforeRemoval,
    /// R14: a dead session's count vanishes and nobody checks.
    ZeroedUnchecked,
    /// R14: a slot that only the hint names is not checked, though a check may have been owed.
    UnlessCountedUnchecked,
    /// R15: the sweep clears the lanes before it has finished what they named.
    SweepClearsLanesFirst,
    /// R15: the winner clears its lane before the slot is on the returned stack.
    WinnerClearsLaneFirst,
    /// R15: the redeemer clears its lane before it gives the pin back.
    RedeemerClearsLaneFirst,
    /// R16: the number of a dead session is free before its row is zero.
    NumberFreedFirst,
    /// R16: a reused session number keeps its generation.
    SameSessionGeneration,
    /// R17: the audit does not look at the lanes.
    AuditIgnoresLanes,
    /// R17: the broker does nothing else while the audits of a sweep wait for lanes.
    AuditBlocks,
    /// R18: the audit writes its count over any value.
    AuditOverwrites,
    /// R19: a reader looks at the lock before it announces itself.
    ReaderLooksFirst,
    /// R19: a writer looks at the readers before it has the lock.
    WriterLooksFirst,
    /// R20: the copy is current before it is full.
    FlipsBeforeFill,
    /// R21: a reader does not look at `seq` again.
    ReadsSeqOnce,
    /// R50: a sealer says that all is whole after it has taken the lock.
    SealerSaysWholeLate,
    /// R50: what the owner before said stays in the lock.
    WholeStays,
    /// R51: an array is sealed without its lock.
    SealsUnlocked,
    /// Redeem, step 3: a use is claimed from whatever ticket is in the entry.
    SerialIgnored,
    /// Dead session: the entries that it was building stay.
    BuildingEntryKept,
    /// Dead session: the returned stack is not taken first.
    SweepTakesNothing,
    /// Restart: the returned stack is only taken after the dead slots have been seen.
    RestartTakesLate,
    /// Restart: grants stay.
    RestartKeepsGrants,
    /// Restart: the returned stack is taken only once.
    RestartTakesOnce,
    /// Restart: a dead slot is finished although a living winner announces it.
    RestartFinishesAnnounced,
    /// Restart: a dead slot that a living winner announces is left to it for good.
    RestartForgetsAnnounced,
    /// Restart: every slot is audited, and not checked.
    RestartAuditsUnchecked,
    /// Audit: a count equal to the pins is believed although `refs` has changed since.
    EqualCountBelieved,
    /// Create: a claim that came too late takes its count back without a check.
    LateClaimUnchecked,
    /// Collect: what was noted of objects that go on working is believed.
    NotesBelieved,
    /// Collect: each suspect is locked, noted and unlocked before the next.
    FreezesOneByOne,
    /// Collect: pins are not looked at.
    CollectsPinned,
    /// Collect: only the broker's own row is compared.
    ReadsOwnRowOnly,
    /// Collect: `refs` is not read again after the rows, before the kill.
    CollectsUnconfirmed,
    /// Collect: what is reached is let go, but not what it leads to.
    ReachedAlone,
    /// Collect: the garbage is still live when its contents are taken out, and dies by the counts.
    CollectsAlive,
    /// Collect: what was killed stays dead although another could not be killed.
    KilledStayDead,
    /// Collect: there is no first look; all hosted objects are suspects.
    SuspectsAll,
    /// Collect: the garbage is killed whatever `refs` is by then.
    KillsAnyValue,
    /// Collect: after the rows, `refs` is neither read again nor swapped.
    NothingConfirmed,
    /// Collect: the locks are released before what was killed in vain is live again.
    RevivesUnlocked,
    /// Audit: the lanes of the broker's own threads are not looked at.
    AuditIgnoresOwnLanes,
    /// Dead session: a dead slot that its lanes named is finished whoever won it.
    SweepFinishesAny,
    /// R40: the child counts itself, after the fork.
    ChildCountsItself,
    /// R40: the hint does not name the child.
    ChildUnhinted,
    /// R40: `refs` stays as it is when a count was copied.
    ChildUnbumped,
    /// R41: the cells of a process that forks are not lifted.
    NotLifted,
    /// R42: who takes a reference does not look whether its process forks.
    TakersIgnoreForks,
    /// R43: a cell that is put back and found empty is not checked.
    SettledUnchecked,
    /// R44: a session whose child has not claimed it yet is ended.
    UnclaimedEnded,
    /// R70: a grant of a slab is withdrawn whatever `refs` is by then.
    WithdrawsAnyValue,
    /// R71: the winner clears its lane before the slot is on the stack of its owner.
    PushesUnannounced,
    /// R71: a slot goes to whatever stack its owner's number has.
    IgnoresStackGeneration,
    /// R72: the sweep leaves what the owner of a slab has killed and not made anew.
    EndKeepsDead,
    /// R73: a slot is granted before its generation is written.
    AnewBeforeWords,
    /// R74: the owner makes anew what is on its stack, without a swap.
    OwnerTakesUnclaimed,
    /// R74: the owner takes what the broker has won, too.
    OwnerTakesTheBrokers,
    /// R75: what is lost is free while its owner may be walking over it.
    FreesWhileWalked,
    /// R75: the stacks are taken before the lanes are read.
    StacksBeforeLanes,
    /// R75: what its living owner has killed is looked for too.
    LostTakesOwners,
    /// R75: what is lost is freed although a lane names it.
    LostTakesAnnounced,
    /// R76: the stack of a dead session stays open.
    StaysOpen,
    /// R76: what a lane of a dead session names is freed although another session owns it.
    SweepFreesForeign,
    /// R90: a sender moves the tail on before it fills the entry.
    TailBeforeFill,
    /// R91: a sender fills the entry before it pins.
    StoredBeforePin,
    /// R92: a sender gives its count back after the entry is filled, without a check.
    SenderUncountsLate,
    /// R93: a receiver counts itself when it has taken the entry and its pin.
    ReceiverCountsLate,
    /// R94: a receiver empties the entry whatever is in it by then.
    TakesAny,
    /// R95: a receiver gives the pin back before it takes the entry.
    UnpinBeforeTake,
    /// R96: the audit does not look at the lanes again.
    AuditLooksOnce,
    /// R97: a dead channel is freed with what is in it.
    FreesFull,
    /// R80: the turn is posted before the request is written.
    TurnBeforeMessage,
    /// R82: the client points to the socket before it has sent.
    PointsUnsent,
    /// R83: that something was sent over the socket is said in the bytes.
    PointsInTheMessage,
    /// R85: the turn of an answer is written before its bytes.
    AnswersBeforeBytes,
    /// R86: a thread leaves whatever the turn is.
    LeavesBlindly,
    /// R87: a thread that has read from the socket puts its own count back.
    LeavesByOwnCount,
    /// Attend: a thread begins with the count that the last one had.
    AttendsByOwnCount,
    /// R88: one that waits at a ring does not look at the socket.
    IgnoresHangUp,
    /// R89: an end wakes only where somebody has marked the event.
    EndTrustsMark,
    /// R98: one that opens an end leaves the state alone if it does not say that there are none.
    OpenerKeepsEpoch,
    /// R99: that there are none is written over any state.
    SettlesAnyState,
    /// Dead session: if it has no seat, nobody looks whether it was the last one.
    SweepSettlesNothing,
}
