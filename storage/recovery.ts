import { type Block, type BlockHead, decodeBlock, decodeDamagedHead } from './block.js'
import type { Journal } from './journal.js'
import type { Checkpoint } from './state.js'

/** A block may have 4 MiB. */
const scanBlocks = 16
/** A key further away than this is a damaged one. */
const positionsMissingMax = 2 ** 32

/** What replay hands out, in the order of the journal. */
export interface ReplayTarget {
  block(block: Block): void
  /** A block of which only the head can be read: its batches are lost. */
  damagedBlock(head: BlockHead): void
  /** Everything up to here has been handed out. */
  reached(last: Checkpoint): void
  /** Something that was written can't be found, for people. */
  problem(text: string): void
}

/** Where the journal ends, and the blocks behind it of a commit that is not all there. */
export interface ReplayEnd {
  readonly last: Checkpoint
  readonly torn: readonly number[]
  /** Position of the newest block of which it is not known whose records it held; 0 when there is none. */
  readonly uncertain: number
}

/** A block of the commit that is being read; `block` is absent when its body is damaged. */
interface Read {
  readonly head: BlockHead
  readonly block: Block | undefined
}

/**
 * Walks what the engine holds behind the last block that the journal knows, and verifies that every block stands where
 * it should, is whole, and follows the one before it. A commit is handed out when its last block is there. Goes on
 * behind damage: what can be read is handed out, what can't is reported.
 */
export async function replay(journal: Journal, target: ReplayTarget): Promise<ReplayEnd> {
  const walk = new Walk(journal.last, target)
  for (;;) {
    const { position: before } = walk.last
    const { blocks, damaged, isEnd } = await journal.scan(before + 1, scanBlocks)
    for (const { position, bytes } of blocks) walk.step(position, bytes)
    if (damaged) walk.damaged()
    // All that is left can be keys that no block can have.
    if (isEnd || walk.last.position === before) return walk.end()
  }
}

class Walk {
  /** The newest block that was read, whatever its state. */
  last: Checkpoint
  readonly #target: ReplayTarget
  /** The newest block whose commit is complete. */
  #complete: Checkpoint
  #commit: Read[] = []
  #linkKnown = true
  #uncertain = 0

  constructor(from: Checkpoint, target: ReplayTarget) {
    this.last = from
    this.#complete = from
    this.#target = target
  }

  step(position: number, bytes: Uint8Array): void {
    const next = this.last.position + 1
    if (position > next + positionsMissingMax) {
      this.#target.problem(`the journal holds a block under a key that no block can have: ${position}`)
      return
    }
    if (position !== next) {
      this.#uncertain = position - 1
      this.#target.problem(`blocks ${next} to ${position - 1} of the journal are missing`)
      this.#linkKnown = false
    }
    const read = this.#read(position, bytes)
    if (read === undefined) {
      this.#linkKnown = false
      this.#uncertain = position
      this.last = { position, link: 0 }
      this.#handOut()
      return
    }
    const { head } = read
    if (this.#linkKnown && head.previousLink !== this.last.link) {
      this.#target.problem(`block ${position} of the journal does not follow the block before it`)
    }
    this.#linkKnown = true
    if (head.indexInCommit === 0) this.#handOut()
    this.#commit.push(read)
    this.last = { position, link: head.link }
    if (head.indexInCommit === head.blocksInCommit - 1) this.#handOut()
  }

  /** The engine could not read all that it has. */
  damaged(): void {
    this.#target.problem(`the journal can't be read whole behind block ${this.last.position}`)
    this.#uncertain = this.last.position
    this.#linkKnown = false
  }

  end(): ReplayEnd {
    const torn = this.#commit.map(({ head }) => head.position)
    if (torn.length > 0) {
      this.#target.problem(`the last commit of the journal is torn: blocks ${torn.join(', ')} were cut back`)
    }
    return { last: this.#complete, torn, uncertain: this.#uncertain }
  }

  #handOut(): void {
    for (const { head, block } of this.#commit) {
      if (block === undefined) this.#target.damagedBlock(head)
      else this.#target.block(block)
    }
    this.#commit = []
    this.#complete = this.last
    this.#target.reached(this.last)
  }

  #read(position: number, bytes: Uint8Array): Read | undefined {
    try {
      const block = decodeBlock(bytes, position)
      return { head: block, block }
    } catch (error) {
      this.#target.problem(error instanceof Error ? error.message : String(error))
      const head = decodeDamagedHead(bytes, position)
      return head && { head, block: undefined }
    }
  }
}
