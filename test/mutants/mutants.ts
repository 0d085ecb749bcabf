/** A fault in the source text that tests must notice. */
export interface Mutant {
  /** Lower case with dashes. */
  readonly name: string
  /** Path of the source file in the repository. */
  readonly file: string
  /** Occurs once in the file. */
  readonly text: string
  readonly replacement: string
  /** Test files whose path contains one of these run; one of them must fail. */
  readonly areas: readonly string[]
  /** What would break for users. */
  readonly why: string
}

/** All mutants. A new one is an entry here; keep `text` short, so that it survives other changes. */
export const mutants: readonly Mutant[] = [
  {
    name: 'large-commit-without-sync',
    file: 'storage/level_engine.ts',
    text: 'await batch.write({ sync: true })',
    replacement: 'await batch.write({ sync: false })',
    areas: ['storage/level_engine'],
    why: 'a power cut loses what was acknowledged',
  },
  {
    name: 'small-commit-without-sync',
    file: 'storage/level_engine.ts',
    text: 'this.#db.batch(ops as EngineOp[], { sync: true })',
    replacement: 'this.#db.batch(ops as EngineOp[], { sync: false })',
    areas: ['storage/level_engine'],
    why: 'a power cut loses what was acknowledged',
  },
  {
    name: 'iterator-left-open',
    file: 'storage/level_engine.ts',
    text: '    } finally {\n      await iterator.close()\n    }\n  }\n\n  snapshot',
    replacement: '    } finally {\n      // left open\n    }\n  }\n\n  snapshot',
    areas: ['storage/level_engine'],
    why: 'each range read keeps a snapshot of LevelDB and its files',
  },
  {
    name: 'retention-age-boundary',
    file: 'storage/retention.ts',
    text: 'entry.lastTimestamp < olderThanMs',
    replacement: 'entry.lastTimestamp <= olderThanMs',
    areas: ['storage/reclaim.test'],
    why: 'retention drops messages that are exactly as old as the limit',
  },
  {
    name: 'reclaim-loses-partly-live-part',
    file: 'storage/reclaim_sweep.ts',
    text: 'firstOffset + recordCount > log.startOffset',
    replacement: 'firstOffset + 0 * recordCount >= log.startOffset',
    areas: ['storage/reclaim.test'],
    why: 'the live messages of a partly dead part of a block are lost',
  },
  {
    name: 'range-takes-changes-late',
    file: 'storage/state.ts',
    text: `    const oldest = this.#oldest
    const stored = await this.durableRange({ ...options, limit })`,
    replacement: `    const stored = await this.durableRange({ ...options, limit })
    const oldest = this.#oldest`,
    areas: ['storage/state', 'later/near_messages'],
    why: 'a checkpoint that ends during the read is missing from it: delayed messages are forgotten or come twice',
  },
  {
    name: 'get-takes-changes-late',
    file: 'storage/state.ts',
    text: 'return later === undefined ? stored : later.value',
    replacement: 'return later === undefined || later !== undefined ? stored : undefined',
    areas: ['storage/state'],
    why: 'a read misses what changed while the engine read',
  },
  {
    name: 'failed-checkpoint-drops-changes',
    file: 'storage/state.ts',
    text: 'if (active.changes.get(key) === undefined) active.changes.set(key, change)',
    replacement: 'if (active.changes.get(key) !== undefined) active.changes.set(key, change)',
    areas: ['storage/state'],
    why: 'what a failed checkpoint did not write is lost',
  },
  {
    name: 'newest-page-taken-late',
    file: 'storage/log_index.ts',
    text: `    const newest = this.#newest
    const page = await this.#readPage(offset)
    if (page !== undefined && page.endOffset > offset) return page
    // \`offset\` is after the last entry of its page, or before the first page: the next page has the answer.
    const next = await this.#pageAfter(offset)`,
    replacement: `    const page = await this.#readPage(offset)
    if (page !== undefined && page.endOffset > offset) return page
    // \`offset\` is after the last entry of its page, or before the first page: the next page has the answer.
    const next = await this.#pageAfter(offset)
    const newest = this.#newest`,
    areas: ['storage/log_index'],
    why: 'a reader skips a page that fills while it reads, and its offsets are stored as lost',
  },
  {
    name: 'dropped-while-read-is-lost',
    file: 'storage/log_reader.ts',
    text: 'return problem === undefined ? lost(log, offset, entry)',
    replacement: 'return problem !== undefined || problem === undefined ? lost(log, offset, entry)',
    areas: ['storage/reclaim_rounds'],
    why: 'what retention dropped is reported and stored as lost',
  },
  {
    name: 'growing-record-swept',
    file: 'storage/reclaim.ts',
    text: 'positionOf(key, 1) >= position',
    replacement: 'positionOf(key, 1) < 0 * position',
    areas: ['storage/reclaim_rounds'],
    why: 'space of operations that are written during a round is never given back',
  },
  {
    name: 'listed-after-removal',
    file: 'storage/level_segments.ts',
    text: 'await contents.change((names) => names.filter((name) => name !== nameOf(from)))',
    replacement: '',
    areas: ['storage/missing_parts'],
    why: 'a folder does not start after space was given back',
  },
  {
    name: 'next-database-not-listed',
    file: 'storage/level_segments.ts',
    text: 'await contents.change((names) => [...names, nameOf(from)])',
    replacement: '',
    areas: ['storage/missing_parts'],
    why: 'the broker starts with a part of its journal missing',
  },
  {
    name: 'ended-while-read-is-forgotten',
    file: 'broker/later/delayed_firing.ts',
    text: 'if (ended.has(sequence)) return undefined',
    replacement: '',
    areas: ['broker/later/delayed_firing'],
    why: 'a message that was delivered is reported as cancelled',
  },
  {
    name: 'retention-by-old-settings',
    file: 'broker/retention.ts',
    text: '.filter(({ partition, settings }) => partition.topic.settings === settings)',
    replacement: '',
    areas: ['broker/retention'],
    why: 'data is dropped that the new settings of its topic keep',
  },
  {
    name: 'data-before-the-wait',
    file: 'broker/handlers/fetch.ts',
    text: 'if (collector.isOutdated) wait.end()',
    replacement: '',
    areas: ['broker/handlers/fetch'],
    why: 'a fetch waits its whole time though there is data',
  },
  {
    name: 'delayed-early',
    file: 'broker/later/delayed_firing.ts',
    text: 'if (message.dueMs > nowMs ||',
    replacement: 'if (message.dueMs > nowMs + 400 ||',
    areas: ['broker/later/delayed_firing'],
    why: 'delayed messages come before their time',
  },
  {
    name: 'fired-while-cancelled',
    file: 'broker/later/delayed_firing.ts',
    text: 'if (this.#ending.has(message.sequence)) continue',
    replacement: '',
    areas: ['broker/later/delayed_firing'],
    why: 'a delayed message is both cancelled and appended, or appended twice',
  },
  {
    name: 'fetch-stays-subscribed',
    file: 'broker/handlers/fetch.ts',
    text: `    unsubscribe()
    collector`,
    replacement: '    collector',
    areas: ['broker/handlers/fetch'],
    why: 'each long poll leaves a callback with its connection: memory grows forever',
  },
  {
    name: 'wait-stays-with-partition',
    file: 'broker/long_polls.ts',
    text: 'for (const partition of this.#partitions) partition.stopWaiting(this)',
    replacement: '',
    areas: ['broker/handlers/fetch'],
    why: 'each long poll leaves a waiter with its partitions: memory grows, publishes get slower',
  },
  {
    name: 'hello-time-of-last-sweep',
    file: 'broker/net/session.ts',
    text: '    this.#stateSinceMs = performance.now()\n    this.#receivedAtMs',
    replacement: '    this.#stateSinceMs = host.nowMs\n    this.#receivedAtMs',
    areas: ['broker/net/session'],
    why: 'a connection ends before its time to say hello is over',
  },
  {
    name: 'failed-attempt-not-counted',
    file: 'broker/queues/delivery_state.ts',
    text: 'message.attempts++',
    replacement: '',
    areas: ['broker/queues'],
    why: 'a message that always fails is delivered forever',
  },
  {
    name: 'unreceived-leases-stay',
    file: 'broker/queues/live_group.ts',
    text: 'return this.busy(() => this.#releaseAll(lost))',
    replacement: 'return this.busy(() => this.#releaseAll(lost.slice(0, 0)))',
    areas: ['broker/queues/unreceived_leases'],
    why: 'an attempt counts that no handler saw',
  },
  {
    name: 'deletion-unnoticed-by-workers',
    file: 'broker/queues/live_group.ts',
    text: 'if (!worker.topicIds.includes(topicId)) continue',
    replacement: 'if (worker.topicIds.length >= 0) continue',
    areas: ['broker/queues/deleted_topics'],
    why: 'a worker waits forever when its topic is created again',
  },
  {
    name: 'commit-of-former-epoch',
    file: 'broker/groups/group.ts',
    text: 'if (slot.epoch !== epoch) return',
    replacement: 'if (slot.epoch < epoch) return',
    areas: ['broker/groups'],
    why: 'a member that lost its partition and got it again commits an offset of before',
  },
  {
    name: 'commit-passes-unacknowledged',
    file: 'client/consumer/acks.ts',
    text: 'run === undefined ? this.#floor : run.firstOffset + run.ackedInOrder',
    replacement: 'run === undefined ? this.#floor : run.firstOffset + run.ackedInOrder + 1',
    areas: ['client/consumer/acks'],
    why: 'the committed offset passes a message that nobody acknowledged',
  },
  {
    name: 'retry-under-new-sequence',
    file: 'client/producer/partition_queue.ts',
    text: 'if (batch.sequence === undefined) {',
    replacement: 'if (batch.sequence === undefined || batch.sequence >= 0) {',
    areas: ['client/producer'],
    why: 'a retry is appended again',
  },
  {
    name: 'producer-gap-accepted',
    file: 'broker/partition/producers.ts',
    text: "if (!endsBefore(header, expected)) return { kind: 'gap', expected }",
    replacement: 'if (!endsBefore(header, expected)) return append',
    areas: ['broker/partition', 'broker/idempotence'],
    why: 'a batch is appended although one before it is missing: order is lost',
  },
  {
    name: 'consume-stop-included',
    file: 'cli/messages/stops.ts',
    text: 'offset >= stop || timestamp',
    replacement: 'offset > stop || timestamp',
    areas: ['cli/consume'],
    why: 'consume --until prints the message that it excludes',
  },
  {
    name: 'import-without-timestamps',
    file: 'cli/commands/import.ts',
    text: 'headers, timestamp, partition: this',
    replacement: 'headers, partition: this',
    areas: ['cli/export_import'],
    why: 'an import gives all messages the time of the import',
  },
  {
    name: 'purge-drops-nothing',
    file: 'broker/handlers/topics.ts',
    text: 'trims.push([log.id, endOffset])',
    replacement: 'trims.push([log.id, startOffset])',
    areas: ['client/purge'],
    why: 'a purge reports dropped messages that are still there',
  },
  {
    name: 'peek-takes-due-for-delayed',
    file: 'broker/queues/peek.ts',
    text: 'dueAtMs > nowMs',
    replacement: 'dueAtMs < nowMs',
    areas: ['cli/purge_peek'],
    why: 'queue peek shows waiting messages as delayed',
  },
  {
    name: 'block-checksum-ignored',
    file: 'storage/block.ts',
    text: 'if (crc32(block.subarray(8)) !== block.readUInt32LE(4))',
    replacement: 'if (block.readUInt32LE(4) < 0)',
    areas: ['storage/block.test'],
    why: 'damaged records are served',
  },
  {
    name: 'missed-edge-shifts',
    file: 'broker/later/occurrences.ts',
    text: 'at !== undefined && at < missedEndMs;',
    replacement: 'at !== undefined && at <= missedEndMs;',
    areas: ['broker/later/occurrences'],
    why: 'a schedule skips a due time that was not missed',
  },
  {
    name: 'repeat-of-a-forgotten-id',
    file: 'broker/later/repeats.ts',
    text: 'return dueMs === 0 && sentAgoMs + clockSlackMs >= dedupeWindowMsOf(settings)',
    replacement: 'return false',
    areas: ['broker/later/repeats'],
    why: 'a lost reply makes a duplicate in a topic with a short memory of ids',
  },
  {
    name: 'set-drops-what-is-due',
    file: 'broker/later/schedule_firing.ts',
    text: 'const formerDueMs = former && firing.add(former, nowMs)',
    replacement: 'const formerDueMs = former?.nextDueMs',
    areas: ['broker/later/schedule_firing'],
    why: 'a schedule that is set at each start loses the due time that the broker was down at',
  },
  {
    name: 'received-lease-not-counted',
    file: 'broker/queues/live_group.ts',
    text: 'return !isReceived && (!isCounted ||',
    replacement: 'return isReceived || (!isCounted ||',
    areas: ['broker/queues/unreceived_leases'],
    why: 'a message that crashes its workers is delivered forever',
  },
  {
    name: 'offset-before-start-readable',
    file: 'storage/log_reader.ts',
    text: 'if (offset >= log.startOffset && offset <= log.endOffset)',
    replacement: 'if (offset + 1 >= log.startOffset && offset <= log.endOffset)',
    areas: ['storage/log_reader', 'storage/reclaim.test'],
    why: 'a reader at the last dropped offset misses a message without an error',
  },
  {
    name: 'batches-overtake-a-failed-one',
    file: 'client/producer/partition_queue.ts',
    text: 'if (this.#failedCount > 0 ||',
    replacement: 'if (',
    areas: ['client/producer'],
    why: 'messages of a key are appended out of order after a failure',
  },
]
