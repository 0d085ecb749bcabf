import type { Random } from '../../helpers/random.js'
import type { Call, HistoryEvent, HistoryRecord, OutcomeFields } from './history.js'

/** Makes the history of `count` random steps of a correct broker, then two drains. For tests of the checker. */
export function modelHistory(rng: Random, count: number): HistoryEvent[] {
  const model = new Model(rng)
  for (let i = 0; i < count; i++) model.step()
  return model.finish()
}

const topic = 't'
const group = 'g'
/** Lines between the last step and the drains, for tests. */
const quietUs = 1_000

interface Pending {
  readonly value: string
  readonly id: number
  noted: boolean
  /** Once it is in the log. */
  offset: number | undefined
}

/** A publisher with one lane. */
interface Publisher {
  readonly process: string
  readonly partition: number
  /** Not in the log yet, in the order of their invocations. */
  readonly queue: Pending[]
  /** In the log, and unanswered. */
  readonly unanswered: Pending[]
}

/** One life of a member that has, or had, one partition. */
interface Member {
  readonly process: string
  readonly partition: number
  readonly epoch: number
  /** Whether it knows its assignment: a stopped process learns it late. */
  told: boolean
  position: number
  processed: number
  committing: { readonly id: number; readonly offset: number; result: 'ok' | 'fail' | undefined } | undefined
}

interface Read {
  readonly id: number
  readonly partition: number
  offset: number | undefined
}

class Model {
  readonly #events: HistoryEvent[] = []
  readonly #logs: string[][]
  readonly #committed: number[]
  readonly #owners: (Member | undefined)[]
  readonly #publishers: Publisher[]
  readonly #members: Member[] = []
  readonly #reads: Read[] = []
  #at = 0
  #ids = 0
  #values = 0
  #epochs = 0
  #faulty = false
  /** Number of publishes. */
  #acknowledged = 0

  constructor(readonly rng: Random) {
    const partitions = rng.int(1, 3)
    this.#logs = Array.from({ length: partitions }, () => [])
    this.#committed = Array.from({ length: partitions }, () => -1)
    this.#owners = Array.from({ length: partitions }, () => undefined)
    this.#publishers = Array.from({ length: rng.int(2, 4) }, (_, i) => {
      return { process: `p${i}`, partition: rng.int(0, partitions - 1), queue: [], unanswered: [] }
    })
  }

  step(): void {
    const chosen = this.rng.int(0, 99)
    if (chosen < 20) this.#publish(this.rng.pick(this.#publishers))
    else if (chosen < 35) this.#append(this.rng.pick(this.#publishers))
    else if (chosen < 50) this.#answer(this.rng.pick(this.#publishers))
    else if (chosen < 53) this.#grant(this.rng.int(0, this.#logs.length - 1))
    else if (chosen < 92) this.#consume()
    else if (chosen < 98) this.#read()
    else this.#fault()
  }

  finish(): HistoryEvent[] {
    if (this.#faulty) this.#fault()
    this.#succeed(this.rng.pick(this.#publishers))
    this.#at += quietUs
    for (const drain of [1, 2]) {
      for (const [partition, log] of this.#logs.entries()) this.#drain(drain, partition, log)
      // Late publishes of unknown outcome.
      for (const publisher of this.#publishers) this.#append(publisher)
    }
    return this.#events
  }

  /** Lines of several processes may have the same time. */
  #now(): number {
    this.#at += this.rng.int(0, 3)
    return this.#at
  }

  #invoke(process: string, call: Call): number {
    const id = ++this.#ids
    this.#events.push({ type: 'invoke', at: this.#now(), process, id, call })
    return id
  }

  #outcome(process: string, id: number, type: 'ok' | 'fail' | 'info', result: OutcomeFields = {}): void {
    this.#events.push({ type, at: this.#now(), process, id, ...result })
  }

  #publish({ process, queue }: Publisher): void {
    if (queue.length >= 4) return
    const value = `v${++this.#values}`
    queue.push({
      value,
      id: this.#invoke(process, { op: 'publish', topic, value, lane: 'a' }),
      noted: false,
      offset: undefined,
    })
  }

  /** As workloads do after the faults: publishes until an acknowledgement. */
  #succeed(publisher: Publisher): void {
    while (publisher.queue.length > 0) this.#append(publisher)
    const before = this.#acknowledged
    while (this.#acknowledged === before) {
      this.#publish(publisher)
      this.#append(publisher)
      this.#answer(publisher)
    }
  }

  /** The oldest of a lane reaches the log, is refused, or is lost on its way. */
  #append({ process, partition, queue, unanswered }: Publisher): void {
    const oldest = queue.shift()
    if (oldest === undefined) return
    if (this.rng.chance(0.1)) {
      if (!oldest.noted && this.rng.chance(0.7))
        this.#outcome(process, oldest.id, this.rng.pick(['fail', 'info']))
      return
    }
    oldest.offset = this.#logs[partition]?.push(oldest.value) ?? 0
    oldest.offset--
    if (!oldest.noted) unanswered.push(oldest)
  }

  #answer({ process, partition, queue, unanswered }: Publisher): void {
    if (this.rng.chance(0.1)) {
      const lost = this.rng.chance(0.5) ? unanswered.shift() : queue.find(({ noted }) => !noted)
      if (lost !== undefined) this.#outcome(process, lost.id, 'info')
      if (lost !== undefined) lost.noted = true
      return
    }
    const [answered] = unanswered.splice(this.rng.int(0, Math.max(0, unanswered.length - 1)), 1)
    if (answered?.offset === undefined) return
    const offset = this.rng.chance(0.05) ? -1 : answered.offset
    this.#outcome(process, answered.id, 'ok', { partition, offset })
    this.#acknowledged++
  }

  #grant(partition: number): void {
    const epoch = ++this.#epochs
    const position = Math.max(0, this.#committed[partition] ?? 0)
    const processed = position
    const member: Member = {
      process: `m${epoch}`,
      partition,
      epoch,
      told: false,
      position,
      processed,
      committing: undefined,
    }
    const before = this.#owners[partition]
    if (before?.told && this.rng.chance(0.5)) this.#note('revoked', before)
    this.#owners[partition] = member
    this.#members.push(member)
    if (this.rng.chance(0.9)) this.#tell(member)
  }

  #tell(member: Member): void {
    member.told = true
    this.#note('assigned', member)
  }

  #note(type: 'assigned' | 'revoked', { process, partition, epoch }: Member): void {
    const partitions = [{ topic, partition }]
    const line = { at: this.#now(), process, group, partitions } as const
    this.#events.push(type === 'assigned' ? { ...line, type, epoch } : { ...line, type })
  }

  /** One of the last members acts, an owner or not. */
  #consume(): void {
    const recent = this.#members.slice(-6)
    if (recent.length === 0) return
    const member = this.rng.pick(recent)
    if (!member.told) {
      if (this.rng.chance(0.3)) this.#tell(member)
      return
    }
    if (member.committing !== undefined) this.#commitStep(member, member.committing)
    else
      this.rng.pick([() => this.#deliver(member), () => this.#process(member), () => this.#commit(member)])()
  }

  #deliver(member: Member): void {
    const { process, partition, position } = member
    const values = this.#logs[partition]?.slice(position, position + this.rng.int(1, 4)) ?? []
    if (values.length === 0) return
    member.position += values.length
    const records = values.map((value, i): HistoryRecord => [position + i, value])
    this.#events.push({ type: 'delivered', at: this.#now(), process, group, topic, partition, records })
  }

  #process(member: Member): void {
    const { process, partition, processed, position } = member
    if (processed === position) return
    member.processed = this.rng.int(processed + 1, position)
    const offsets = this.rng.shuffle(
      Array.from({ length: member.processed - processed }, (_, i) => processed + i),
    )
    this.#events.push({ type: 'processed', at: this.#now(), process, group, topic, partition, offsets })
  }

  #commit(member: Member): void {
    const { process, partition, epoch, processed: offset } = member
    const id = this.#invoke(process, { op: 'commit', group, topic, partition, offset, epoch })
    member.committing = { id, offset, result: undefined }
  }

  /** It reaches the broker, or its answer reaches the member. */
  #commitStep(member: Member, committing: NonNullable<Member['committing']>): void {
    const { process, partition } = member
    if (committing.result !== undefined || this.rng.chance(0.1)) {
      this.#outcome(process, committing.id, this.rng.chance(0.1) ? 'info' : (committing.result ?? 'info'))
      member.committing = undefined
      return
    }
    committing.result = this.#owners[partition] === member ? 'ok' : 'fail'
    if (committing.result === 'ok') this.#committed[partition] = committing.offset
  }

  #read(): void {
    const read = this.#reads[0]
    if (read === undefined || this.rng.chance(0.3)) {
      const partition = this.rng.int(0, this.#logs.length - 1)
      const id = this.#invoke('admin', { op: 'committed', group, topic, partition })
      this.#reads.push({ id, partition, offset: undefined })
    } else if (read.offset === undefined) {
      read.offset = this.#committed[read.partition] ?? -1
    } else {
      this.#outcome('admin', read.id, 'ok', { offset: read.offset })
      this.#reads.shift()
    }
  }

  #fault(): void {
    const phase = this.#faulty ? 'heal' : 'inject'
    this.#faulty = !this.#faulty
    this.#events.push({ type: 'fault', at: this.#now(), process: 'faults', phase, name: 'kill' })
  }

  #drain(drain: number, partition: number, log: readonly string[]): void {
    const lines = { type: 'drained', process: 'drain', topic, partition, drain, startOffset: 0 } as const
    const endOffset = log.length
    let from = 0
    do {
      const to = Math.min(endOffset, from + this.rng.int(1, 20))
      const records = log.slice(from, to).map((value, i): HistoryRecord => [from + i, value])
      this.#events.push({ ...lines, at: this.#now(), endOffset, records })
      from = to
    } while (from < endOffset)
  }
}
