import { randomUUID } from 'node:crypto'
import { commands, isMillraceError, type ReplyOf } from '../../protocol/index.js'
import { pause } from '../backoff.js'
import { TopicWait, topicPollMs } from '../topic_wait.js'
import type { BrokerPort } from './broker_port.js'
import { deferred } from './deferred.js'
import { retryMs } from './retry.js'

export type Assignment = ReplyOf<typeof commands.groupJoin>
export type Grant = Assignment['partitions'][number]

export interface GroupMemberOptions {
  readonly port: BrokerPort
  readonly group: string
  readonly instanceId: string | undefined
  readonly singleActive: boolean
  readonly topics: readonly string[]
  readonly sessionTimeoutMs: number
  /** The current partitions of the consumer: [topicId, partition, epoch]. */
  readonly owned: () => [topicId: number, partition: number, epoch: number][]
  /**
   * The broker sent an assignment. After a join (`joined`) it replaces every earlier one; otherwise the member must
   * give up partitions that it does not list.
   */
  readonly onAssignment: (assignment: Assignment, joined: boolean) => void
  /** The broker is unreachable, so other members may have the partitions: deliver nothing until the next assignment. */
  readonly onSuspended: () => void
  /** A join or a heartbeat failed; the member tries again. */
  readonly onRetry?: ((error: unknown) => void) | undefined
  /** The membership has ended permanently. */
  readonly onFailed: (error: unknown) => void
}

/**
 * State of the membership: `joining` until the broker has accepted the member (again), `joined` while heartbeats
 * succeed, `suspended` while they fail, `ended` after leaving or a permanent error.
 */
export type MemberState = 'joining' | 'joined' | 'suspended' | 'ended'

/** Minimum interval of heartbeats whose replies bring no news. */
const heartbeatMsMin = 20
const leaveTimeoutMs = 1_000

/**
 * Keeps a membership of a stream group alive: joins, sends heartbeats independently of the application, and joins again
 * after a loss.
 */
export class GroupMember {
  readonly memberId: string = randomUUID()
  state: MemberState = 'joining'
  /** Generation of the group in the last assignment. */
  generation = 0
  readonly #options: GroupMemberOptions
  readonly #abort = new AbortController()
  #changed = deferred<void>()
  #failures = 0
  readonly #topicWait = new TopicWait()
  #running: Promise<void> | undefined

  constructor(options: GroupMemberOptions) {
    this.#options = options
  }

  start(): void {
    this.#running ??= this.#run()
  }

  /** Call it when the consumer owns fewer partitions than before: tells the broker at once. */
  ownedChanged(): void {
    this.#changed.resolve()
  }

  /** Another request found that the broker no longer knows the member. */
  rejoin(): void {
    if (this.state === 'ended') return
    this.state = 'joining'
    this.#changed.resolve()
  }

  /**
   * Ends the membership, so that other members get the partitions at once; the partitions of a static member wait for
   * its return. Never rejects.
   */
  async leave(): Promise<void> {
    const { port, group, instanceId } = this.#options
    const isMember = this.#running !== undefined && this.state !== 'ended'
    this.state = 'ended'
    this.#abort.abort()
    await this.#running
    if (!isMember || instanceId !== undefined) return
    const body = { group, memberId: this.memberId }
    // The broker removes a silent member anyway.
    await port.control(commands.groupLeave, body, { timeoutMs: leaveTimeoutMs }).catch(noop)
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      try {
        if (this.state === 'joining') await this.#join()
        else await this.#heartbeat()
      } catch (error) {
        if (this.#abort.signal.aborted) return
        await this.#recover(error)
      }
    }
  }

  async #join(): Promise<void> {
    const { port, group, instanceId, topics, sessionTimeoutMs, singleActive } = this.#options
    const single = singleActive ? { singleActive } : {}
    const body = { group, memberId: this.memberId, instanceId, topics, sessionTimeoutMs, ...single }
    this.#changed = deferred()
    const options = { signal: this.#abort.signal, timeoutMs: Math.max(sessionTimeoutMs, 10_000) }
    const assignment = await port.control(commands.groupJoin, body, options)
    this.#assigned(assignment, true)
  }

  /**
   * Sends one heartbeat; if the owned partitions change before its reply, the member ignores the reply, and the next heartbeat follows
   * at once.
   */
  async #heartbeat(): Promise<void> {
    const { port, group, sessionTimeoutMs, owned } = this.#options
    const { signal } = this.#abort
    const sentAtMs = performance.now()
    const waitMs = Math.floor(sessionTimeoutMs / 3)
    this.#changed = deferred()
    const body = { group, memberId: this.memberId, waitMs, owned: owned() }
    const reply = port.control(commands.groupHeartbeat, body, { signal, timeoutMs: waitMs * 2 })
    reply.catch(noop)
    const assignment = await Promise.race([reply, this.#changed.promise])
    if (assignment === undefined || signal.aborted) return
    this.#assigned(assignment, false)
    const spareMs = heartbeatMsMin - (performance.now() - sentAtMs)
    if (spareMs > 0) await Promise.race([pause(spareMs, signal), this.#changed.promise])
  }

  #assigned(assignment: Assignment, joined: boolean): void {
    if (this.#abort.signal.aborted) return
    this.#failures = 0
    this.#topicWait.found()
    this.state = 'joined'
    this.generation = assignment.generation
    this.#options.onAssignment(assignment, joined)
  }

  async #recover(error: unknown): Promise<void> {
    if (isMillraceError(error, 'UNKNOWN_MEMBER')) {
      this.state = 'joining'
      this.#options.onSuspended()
      return
    }
    const isTopicGone = this.generation > 0 && isMillraceError(error, 'UNKNOWN_TOPIC')
    const isReported = isTopicGone && this.#topicWait.isWaiting
    const isAwaited = isTopicGone && !this.#topicWait.isOver
    if (!isAwaited && (!isMillraceError(error) || !error.retryable)) {
      this.state = 'ended'
      this.#abort.abort()
      this.#options.onFailed(error)
      return
    }
    if (this.state === 'joined') this.state = 'suspended'
    if (!isReported) this.#options.onRetry?.(error)
    this.#options.onSuspended()
    this.#failures++
    const pauseMs = isAwaited ? topicPollMs : retryMs(this.#failures)
    await pause(pauseMs, this.#abort.signal)
  }
}

function noop(): void {}
