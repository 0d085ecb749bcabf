import { testShortCampaign } from '../short_campaign.js'
import { kill } from './kill.js'

testShortCampaign(kill)
