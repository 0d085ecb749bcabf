/** The worker processes of the work example. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { hasEnded, pathOf } from './processes.js'
import { Diary, type Teller } from './work_diary.js'
import { behaviourOf, crashCode } from './work_settings.js'

/** A message that was done before its worker froze is not delivered again. */
const frozenMsMax = 10_000

interface Member extends Teller {
  readonly child: ChildProcess
  readonly crashes: boolean
}

export interface CrewOptions {
  readonly server: string
  readonly topic: string
  readonly group: string
  readonly workers: number
  /** Number of workers that crash once. */
  readonly crashing: number
  /** Messages before a crash: at most as many as a worker gets at once. */
  readonly crashAfter: number
}

/**
 * Workers that are replaced after a crash. One is stopped, as if its machine had frozen, during a message. It continues
 * after another worker got that message: its answer is then late, because its lease is lost.
 */
export class Crew {
  readonly diary = new Diary()
  crashes = 0
  readonly #options: CrewOptions
  readonly #members = new Set<Member>()
  #frozen: { readonly member: Member; readonly digest: string; readonly timer: NodeJS.Timeout } | undefined
  #isClosing = false
  /** The crashing workers that have begun. */
  readonly #begun = new Set<Member>()
  #hasOthers = false
  #leasesLost = 0

  constructor(options: CrewOptions) {
    this.#options = options
    for (let n = 0; n < options.crashing; n++) this.#start(true)
  }

  /** Settlements that the broker refused because the lease had ended. */
  get leasesLost(): number {
    return this.#leasesLost
  }

  /** Whether all planned events have happened. */
  get isThrough(): boolean {
    return this.crashes >= this.#options.crashing && this.#frozen === undefined
  }

  /** Lets all workers finish their messages. */
  async close(): Promise<void> {
    this.#isClosing = true
    this.#wake()
    const ended = [...this.#members].map(({ child }) => hasEnded(child))
    for (const { child } of this.#members) child.kill('SIGTERM')
    await Promise.all(ended)
  }

  kill(): void {
    this.#isClosing = true
    this.#wake()
    for (const { child } of this.#members) child.kill('SIGKILL')
  }

  #start(crashes: boolean): void {
    const { server, topic, group, crashAfter } = this.#options
    const args = [pathOf('work_member.js'), server, topic, group, String(crashes ? crashAfter : 0)]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    const member: Member = { child, crashes, hasCrashed: false, mayBeginLate: false, lost: 0 }
    this.#members.add(member)
    createInterface({ input: child.stdout }).on('line', (line) => this.#told(line, member))
    child.once('exit', (code) => {
      this.#members.delete(member)
      if (code !== crashCode || this.#isClosing) return
      member.hasCrashed = true
      this.crashes++
      this.#start(false)
    })
  }

  #told(line: string, member: Member): void {
    const [what, digest, attempt] = this.diary.read(line, member)
    if (what === 'lost') this.#leasesLost++
    if (what !== 'begun') return
    if (member.crashes) this.#begun.add(member)
    this.#startOthers()
    if (this.#frozen?.digest === digest && this.#frozen.member !== member) this.#wake()
    else if (attempt === 1 && this.#mayFreeze(member, digest)) {
      member.child.kill('SIGSTOP')
      member.mayBeginLate = true
      const timer = setTimeout(() => this.#wake(), frozenMsMax)
      this.#frozen = { member, digest, timer }
    }
  }

  #wake(): void {
    if (this.#frozen === undefined) return
    clearTimeout(this.#frozen.timer)
    this.#frozen.member.child.kill('SIGCONT')
    this.#frozen = undefined
  }

  /** The crashing workers begin before the others, which might leave nothing for them. */
  #startOthers(): void {
    const { workers, crashing } = this.#options
    if (this.#begun.size < crashing || this.#hasOthers) return
    this.#hasOthers = true
    for (let n = crashing; n < workers; n++) this.#start(false)
  }

  /** Freezes it until a lease was lost: during a message that takes long, so that its handler is still running. */
  #mayFreeze(member: Member, digest: string): boolean {
    const isOver = this.#isClosing || this.#leasesLost > 0 || this.#frozen !== undefined
    return !isOver && !member.crashes && behaviourOf(digest) === 'late'
  }
}
