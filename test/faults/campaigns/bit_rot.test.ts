import { testShortCampaign } from '../short_campaign.js'
import { bitRot } from './bit_rot.js'

testShortCampaign(bitRot)
