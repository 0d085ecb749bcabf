import type { Finding } from '../campaign.js'
import { Findings } from '../findings.js'

/** A message that was published for every group. Times are ms of one clock. */
export interface LeasedMessage {
  /** Unique forever. */
  readonly value: string
  readonly ackedMs: number
  /** Whether every handler throws, so that it has to become a dead letter. */
  readonly fails: boolean
}

/** A handler begins with a message. */
export interface HandlerStart {
  readonly group: string
  readonly value: string
  /** As the message says, from 1. */
  readonly attempt: number
  readonly atMs: number
}

/** The broker has confirmed an acknowledgement. */
export interface ConfirmedAck {
  readonly group: string
  readonly value: string
  readonly atMs: number
}

/** A message in the topic of dead letters, as it was read at the end. */
export interface ReadDeadLetter {
  readonly group: string
  readonly value: string
  /** As its headers say. */
  readonly attempts: number
}

/** All that clients saw of queue groups whose workers stayed alive until all messages were settled. */
export interface LeaseHistory {
  readonly groups: readonly { readonly name: string; readonly attemptsMax: number }[]
  readonly published: readonly LeasedMessage[]
  /** In the order of their times, and so are `acks`. */
  readonly starts: readonly HandlerStart[]
  readonly acks: readonly ConfirmedAck[]
  readonly dead: readonly ReadDeadLetter[]
  /** Times in which there was no broker; they do not count as waiting. */
  readonly downs: readonly { readonly fromMs: number; readonly toMs: number }[]
  /** How long a message may wait for its first handler, or for the next after one that threw. */
  readonly waitMsMax: number
}

interface Life {
  readonly starts: HandlerStart[]
  ackedAtMs: number | undefined
  dead: ReadDeadLetter | undefined
}

/** Judges attempts, dead letters and waiting times of queue groups, from what clients saw alone. */
export function judgeLeases(history: LeaseHistory): Finding[] {
  const findings = new Findings()
  for (const group of history.groups) judgeGroup(history, group, findings)
  return findings.list
}

function judgeGroup(
  history: LeaseHistory,
  { name, attemptsMax }: LeaseHistory['groups'][number],
  findings: Findings,
): void {
  const found = new Map<string, string[]>()
  const find = (check: string, evidence: string): void => {
    const list = found.get(check) ?? []
    list.push(`${name}: ${evidence}`)
    found.set(check, list)
  }
  const lives = livesOf(history, name, find)
  for (const message of history.published) {
    const { value, fails } = message
    const { starts, ackedAtMs, dead } = lives.get(value) ?? {
      starts: [],
      ackedAtMs: undefined,
      dead: undefined,
    }
    for (const [index, { attempt, atMs }] of starts.entries()) {
      if (attempt - 1 > index)
        find('attempt-invented', `${value} came as attempt ${attempt} after ${index} handlers had started`)
      if (attempt > attemptsMax)
        find('attempts-over-limit', `${value} came as attempt ${attempt} of ${attemptsMax}`)
      if (ackedAtMs !== undefined && atMs > ackedAtMs)
        find('delivered-after-ack', `${value}, acknowledged at ${ackedAtMs}, came again at ${atMs}`)
    }
    if (starts.length === 0)
      find(dead === undefined ? 'never-delivered' : 'dead-unseen', `no handler saw ${value}`)
    else if (dead !== undefined && dead.attempts > starts.length)
      find(
        'attempt-invented',
        `${value} became a dead letter after ${dead.attempts} attempts, ${starts.length} handlers started`,
      )
    if (dead !== undefined && !fails)
      find(
        'dead-without-failure',
        `no handler of ${value} threw; handlers started at ${starts.map(({ atMs }) => Math.round(atMs)).join(', ')}; ` +
          `the broker was down ${history.downs.map(({ fromMs, toMs }) => `${Math.round(fromMs)}..${Math.round(toMs)}`).join(', ')}`,
      )
    if (dead !== undefined && ackedAtMs !== undefined) find('acked-and-dead', value)
    if (dead === undefined && fails) find('dead-letter-lost', `${value} is not among the dead letters`)
    judgeWaiting(history, message, starts, find)
  }
  for (const [check, evidence] of found) findings.addAll(check, evidence)
}

function livesOf(
  { starts, acks, dead }: LeaseHistory,
  group: string,
  find: (check: string, evidence: string) => void,
): Map<string, Life> {
  const lives = new Map<string, Life>()
  const lifeOf = (value: string): Life => {
    let life = lives.get(value)
    if (life === undefined) {
      life = { starts: [], ackedAtMs: undefined, dead: undefined }
      lives.set(value, life)
    }
    return life
  }
  for (const start of starts) if (start.group === group) lifeOf(start.value).starts.push(start)
  for (const { group: of, value, atMs } of acks) if (of === group) lifeOf(value).ackedAtMs ??= atMs
  for (const letter of dead) {
    if (letter.group !== group) continue
    const life = lifeOf(letter.value)
    if (life.dead !== undefined) find('dead-twice', letter.value)
    life.dead = letter
  }
  return lives
}

function judgeWaiting(
  { downs, waitMsMax }: LeaseHistory,
  { value, ackedMs, fails }: LeasedMessage,
  starts: readonly HandlerStart[],
  find: (check: string, evidence: string) => void,
): void {
  let sinceMs = ackedMs
  // A message that does not fail is done after its first handler, as far as that one knows.
  for (const { attempt, atMs } of fails ? starts : starts.slice(0, 1)) {
    const downMs = downs.reduce(
      (sum, { fromMs, toMs }) => sum + Math.max(0, Math.min(toMs, atMs) - Math.max(fromMs, sinceMs)),
      0,
    )
    const waitedMs = atMs - sinceMs - downMs
    if (waitedMs > waitMsMax)
      find(
        'waited-too-long',
        `${value} waited ${Math.round(waitedMs)} ms for attempt ${attempt}, expected at most ${waitMsMax} ms`,
      )
    sinceMs = atMs
  }
}
