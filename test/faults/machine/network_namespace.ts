import type { TestContext } from '../../helpers/context.js'
import { type SpawnedProcess, type SpawnOptions, spawnProcess } from '../../helpers/spawn.js'
import { run, runAtExit } from './command.js'
import { checkOnce, linuxRoot, tools, trial, type Unavailable } from './requirements.js'

/** Locally administered, so no interface has it. */
const nobody = '02:00:00:00:00:01'

let namespaces = 0

/**
 * Another machine on a cable: a network namespace and a pair of virtual interfaces. With the link down no packet passes
 * and no side gets an error, like a pulled cable, a dead switch or a laptop that leaves the room: connections stay open
 * on
 * both ends until a timeout, and continue when the link is back, after a retransmission (within seconds; later if it
 * was down for long). A broker for clients inside listens on `hostAddress`.
 *
 * Limits: the inside knows that its interface is down, so its new connections fail at once (ENETUNREACH), while
 * packets from outside vanish silently. `losePackets` is invisible to both sides.
 */
export class NetworkNamespace {
  /** Its name for ip-netns(8). */
  readonly name: string
  /** Address of this side. */
  readonly hostAddress: string
  /** Address of the side in the namespace. */
  readonly insideAddress: string
  readonly #context: TestContext

  private constructor(context: TestContext, name: string, subnet: string) {
    this.#context = context
    this.name = name
    this.hostAddress = `${subnet}.1`
    this.insideAddress = `${subnet}.2`
  }

  /** Creates it, with the link up; the cleanup of the context removes it. */
  static async create(context: TestContext): Promise<NetworkNamespace> {
    const name = `mr${process.pid}n${namespaces++}`
    const namespace = new NetworkNamespace(context, name, await unusedSubnet())
    const withdraw = runAtExit(['ip', 'netns', 'delete', name], ['ip', 'link', 'delete', name])
    await run('ip', 'netns', 'add', name)
    context.defer(async () => {
      // The pair goes with either end; the namespace itself only when its last process has ended.
      await run('ip', 'link', 'delete', name).catch(() => {})
      await run('ip', 'netns', 'delete', name)
      withdraw()
    })
    await run('ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', 'cable', 'netns', name)
    await run('ip', 'address', 'add', `${namespace.hostAddress}/30`, 'dev', name)
    await run('ip', '-n', name, 'address', 'add', `${namespace.insideAddress}/30`, 'dev', 'cable')
    await run('ip', 'link', 'set', name, 'up')
    await run('ip', '-n', name, 'link', 'set', 'lo', 'up')
    await namespace.linkUp()
    return namespace
  }

  /**
   * Program and arguments to run another program inside. Not `ip netns exec`, which copies all mounts: a volume
   * would stay in use after its unmount.
   */
  get command(): readonly [command: string, ...args: string[]] {
    return ['nsenter', `--net=/run/netns/${this.name}`, '--']
  }

  /** Starts a program inside. */
  spawn(command: string, args: readonly string[], options: SpawnOptions = {}): SpawnedProcess {
    const [enter, ...entering] = this.command
    return spawnProcess(this.#context, enter, [...entering, command, ...args], options)
  }

  async linkDown(): Promise<void> {
    await run('ip', '-n', this.name, 'link', 'set', 'cable', 'down')
  }

  async linkUp(): Promise<void> {
    await run('ip', '-n', this.name, 'link', 'set', 'cable', 'up')
  }

  /**
   * Loses all packets both ways while the interfaces stay up, like a failure of a switch or route further away: no
   * side gets an error, not even for new connections. Each side addresses the other by a hardware address that nobody
   * has.
   */
  async losePackets(): Promise<void> {
    for (const [side, address] of this.#neighbours())
      await run('ip', ...side, 'neigh', 'replace', ...address, 'lladdr', nobody, 'nud', 'permanent')
  }

  async passPackets(): Promise<void> {
    for (const [side, address] of this.#neighbours()) await run('ip', ...side, 'neigh', 'delete', ...address)
  }

  /** The address of each side from the other, as arguments of ip-neighbour(8). */
  #neighbours(): readonly (readonly [side: readonly string[], address: readonly string[]])[] {
    return [
      [
        ['-n', this.name],
        [this.hostAddress, 'dev', 'cable'],
      ],
      [[], [this.insideAddress, 'dev', this.name]],
    ]
  }
}

/** A third byte of 10.213.x.0/30 that no interface has; each process begins its search elsewhere. */
async function unusedSubnet(): Promise<string> {
  const addresses = await run('ip', '-oneline', '-4', 'address')
  for (let i = 0; i < 256; i++) {
    const subnet = `10.213.${(process.pid + namespaces + i) % 256}`
    if (!addresses.includes(` ${subnet}.`)) return subnet
  }
  throw new Error('all of 10.213.0.0/16 is in use')
}

/** The reason why there are no network namespaces here. */
export const networkNamespaceUnavailable: Unavailable = checkOnce(
  linuxRoot,
  tools('ip', 'nsenter'),
  trial('a network namespace', (context) => NetworkNamespace.create(context)),
)
