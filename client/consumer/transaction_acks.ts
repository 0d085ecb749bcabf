import { MillraceError } from '../../protocol/index.js'
import type { AckRange } from './acks.js'
import { Message } from './message.js'
import type { MessageBatch } from './message_batch.js'
import { type OffsetCommitter, PartitionStream } from './partition_stream.js'

type Stream = PartitionStream<unknown, unknown>

/** Offsets that one member commits: [topic id, partition, epoch, next offset]. */
export interface MemberOffsets {
  readonly group: string
  readonly memberId: string
  readonly offsets: readonly (readonly [topicId: number, partition: number, epoch: number, offset: number])[]
}

/** Messages of stream groups that a transaction acknowledges. */
export class TransactionAcks {
  readonly #ranges = new Map<Stream, AckRange[]>()

  /** @throws MillraceError BAD_OPTION if it was not read in a group, FENCED if its acknowledgement no longer counts */
  add(messages: Message | MessageBatch): void {
    const { run } = messages
    const { topic, partition } = messages
    const [first, end] =
      messages instanceof Message
        ? [messages.offset, messages.offset + 1]
        : [messages.firstOffset, messages.lastOffset + 1]
    const stream = run.source
    if (run.acks === undefined || !(stream instanceof PartitionStream) || stream.committer === undefined)
      throw new MillraceError(
        'BAD_OPTION',
        `offset ${first} of partition ${partition} of topic "${topic}" was not read in a group, so a transaction can't acknowledge it`,
      )
    const ranges = this.#ranges.get(stream) ?? []
    ranges.push({ run: run.acks, first, end })
    this.#ranges.set(stream, ranges)
  }

  /**
   * Calls `send` with the offsets to commit, while the same members commit nothing else; once it resolves the
   * messages are acknowledged.
   * @throws MillraceError FENCED, BAD_OPTION if an earlier message is not acknowledged; the error of `send`:
   * then none of them is acknowledged
   */
  async commit(send: (offsets: readonly MemberOffsets[]) => Promise<void>): Promise<void> {
    const committers = new Set<OffsetCommitter>()
    for (const { committer } of this.#ranges.keys()) if (committer !== undefined) committers.add(committer)
    // All transactions wait for members in the same order, which prevents a deadlock.
    const inOrder = [...committers].sort((a, b) => (a.memberId < b.memberId ? -1 : 1))
    await exclusively(inOrder, async () => {
      const positions = new Map(
        [...this.#ranges].map(([stream, ranges]) => [stream, positionAfter(stream, ranges)]),
      )
      await send(inOrder.map((committer) => offsetsOf(committer, positions)))
      for (const [stream, ranges] of this.#ranges) {
        stream.committed = positions.get(stream)
        for (const { run, first, end } of ranges) run.ackRange(first, end)
      }
    })
  }
}

/** The position of the next member after an acknowledgement of all these messages. */
function positionAfter(stream: Stream, ranges: readonly AckRange[]): number {
  const { topic, partition, acks } = stream
  const what = `partition ${partition} of topic "${topic}"`
  if (stream.state === 'dropped' || acks === undefined || ranges.some(({ run }) => run.window !== acks))
    throw new MillraceError(
      'FENCED',
      `${what} moved to another member, or its position changed, after the message was read`,
    )
  const position = acks.committableWith(ranges)
  for (const { first, end } of ranges)
    if (end > position)
      throw new MillraceError(
        'BAD_OPTION',
        `the transaction acknowledges offset ${Math.max(first, position)} of ${what}, but offset ${position} before it is not acknowledged`,
      )
  return position
}

function offsetsOf(committer: OffsetCommitter, positions: ReadonlyMap<Stream, number>): MemberOffsets {
  const { group, memberId } = committer
  const own = [...positions].filter(([stream]) => stream.committer === committer)
  return {
    group,
    memberId,
    offsets: own.map(([{ topicId, partition, epoch }, offset]) => [topicId, partition, epoch, offset]),
  }
}

function exclusively(committers: readonly OffsetCommitter[], work: () => Promise<void>): Promise<void> {
  const [first, ...others] = committers
  return first === undefined ? work() : first.exclusively(() => exclusively(others, work))
}
